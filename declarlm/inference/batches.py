"""Cutting rows into batches of about equal work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.errors import OutOfMemoryError

if TYPE_CHECKING:
    import numpy as np
    import torch

TOKENS_ON_CPU, TOKENS_ON_GPU = 8192, 65536


def token_batches(lengths: Sequence[int], token_budget: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the numbers of the rows of each batch, longest rows first.

    A batch holds rows of similar length, and at most ``token_budget`` tokens with padding, or a single row.
    """
    import numpy as np

    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, token_budget // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def in_batches(
    lengths: Sequence[int],
    device: torch.device,
    run: Callable[[np.ndarray[Any, Any]], None],
    token_budget: int | None = None,
) -> None:
    """Call ``run`` with the rows of one batch after another; a batch that does not fit into memory is halved.

    Raises:
        OutOfMemoryError: If not even one row fits.
    """
    import torch

    budget = token_budget or (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU)
    batches = list(token_batches(lengths, budget))[::-1]
    while batches:
        rows = batches.pop()
        try:
            run(rows)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise OutOfMemoryError(
                    f"a single row of {lengths[rows[0]]} tokens does not fit into the memory of {device}; "
                    "shorten the rows or quantize the base model"
                ) from error
            half = len(rows) // 2
            batches += [rows[half:], rows[:half]]
