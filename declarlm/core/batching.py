"""Cutting rows into batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def by_length(
    lengths: Sequence[int] | np.ndarray[Any, Any], budget: int, *, worth: int | None = None
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the row numbers of each batch, the longest rows first.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        budget: Most tokens of a batch, with padding; a longer row is a batch of its own.
        worth: Padding that a further batch must save, in tokens; null never makes more batches than it must.
    """
    import numpy as np

    known = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-known, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(known[order[start]])))
        batch = order[start : start + size]
        yield from [batch] if worth is None else _without_padding(batch, known, worth)
        start += size


def _without_padding(
    batch: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any], worth: int
) -> Iterator[np.ndarray[Any, Any]]:
    """Cut a batch, longest row first, where that saves most padding, as long as it saves what it is worth."""
    import numpy as np

    sizes = lengths[batch]
    saved = (sizes[0] - sizes) * np.arange(len(batch), 0, -1)  # by a batch that begins at each place, (rows,)
    place = int(saved.argmax())
    if place == 0 or saved[place] < worth:
        yield batch
        return
    yield from _without_padding(batch[:place], lengths, worth)
    yield from _without_padding(batch[place:], lengths, worth)
