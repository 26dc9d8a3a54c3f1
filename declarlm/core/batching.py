"""Cutting rows into batches of similar length, halved where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.device import is_out_of_memory, release_memory
from declarlm.core.errors import OutOfMemoryError

if TYPE_CHECKING:
    import numpy as np
    import torch

TOKENS_ON_CPU, TOKENS_ON_GPU = 8192, 65536


def in_batches(
    lengths: Sequence[int] | np.ndarray[Any, Any],
    device: torch.device,
    run: Callable[[np.ndarray[Any, Any]], None],
    token_budget: int | None = None,
    *,
    max_rows: int | None = None,
) -> None:
    """Call ``run`` with the rows of one batch after another; a batch that does not fit into memory is halved.

    Raises:
        OutOfMemoryError: If not even one row fits.
    """
    budget = token_budget or (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU)
    batches = list(by_length(lengths, budget, max_rows=max_rows))[::-1]
    while batches:
        rows = batches.pop()
        try:
            run(rows)
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise OutOfMemoryError(
                    f"a single row of {lengths[rows[0]]} tokens does not fit into the memory of {device}; "
                    "shorten the rows or quantize the base model"
                ) from error
        # Outside the handler, because the error's traceback holds the activations.
        release_memory(device)
        half = len(rows) // 2
        batches += [rows[half:], rows[:half]]


def by_length(
    lengths: Sequence[int] | np.ndarray[Any, Any],
    budget: int,
    *,
    worth: int | None = None,
    max_rows: int | None = None,
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the row numbers of each batch, the longest rows first.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        budget: Most tokens of a batch, with padding; a longer row is a batch of its own.
        worth: Padding that a further batch must save, in tokens; null never makes more batches than it must.
        max_rows: Most rows of a batch.
    """
    import numpy as np

    known = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-known, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(known[order[start]])))
        size = size if max_rows is None else min(size, max_rows)
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
