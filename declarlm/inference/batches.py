"""Rows in batches of similar length, halved where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.batching import by_length
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
) -> None:
    """Call ``run`` with the rows of one batch after another; a batch that does not fit into memory is halved.

    Raises:
        OutOfMemoryError: If not even one row fits.
    """
    import torch

    budget = token_budget or (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU)
    batches = list(by_length(lengths, budget))[::-1]
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
