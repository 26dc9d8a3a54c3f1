"""A table that is predicted by several processes of Ray, block by block."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.backends.cluster import own_umask
from declarlm.core import DeclarlmError

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.backends.base import Predict

MAX_BLOCK = 4096  # rows of a block
BLOCKS = 4  # for each process, so that one that is slow does not hold the others up
POSITION, REASON = "__position", "__reason"  # columns beside those of a block


def predict_blocks(
    ray: Any, table: pd.DataFrame, make: Callable[[], Predict], *, num_processes: int, **needs: Any
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Return the predictions for a table, in its order and with its index, and why rows failed, by position.

    Args:
        ray: Ray, which runs.
        table: The rows.
        make: Makes, once in each process, what predicts a block.
        num_processes: Number of processes.
        needs: What each of them needs, such as ``num_cpus`` and ``num_gpus``, as Ray calls it.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    size = max(1, min(MAX_BLOCK, math.ceil(len(table) / (BLOCKS * num_processes))))
    starts = range(0, max(1, len(table)), size)
    blocks = [_numbered(table.iloc[start : start + size], start) for start in starts]
    processes = ray.data.ActorPoolStrategy(size=num_processes)
    whole: dict[str, Any] = {"batch_size": None, "batch_format": "pandas"}
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of Ray, about what it is passed
        found = ray.data.from_pandas(blocks).map_batches(_actor(make), compute=processes, **whole, **needs)
    try:
        pieces = list(found.iter_batches(**whole))
    except Exception as error:  # noqa: BLE001  # whatever a process raised, Ray wraps it in errors of its own
        raise _cause(error) from None
    joined = _joined(pieces).sort_values(POSITION).set_axis(table.index)
    reasons = {row: reason for row, reason in enumerate(joined[REASON]) if reason}
    return joined.drop(columns=[POSITION, REASON]), reasons


def _numbered(block: pd.DataFrame, start: int) -> pd.DataFrame:
    found = block.reset_index(drop=True)
    found[POSITION] = range(start, start + len(block))
    return found


def _actor(make: Callable[[], Predict]) -> type:
    """Return the class that Ray makes one object of in each process."""
    here, mask = Path.cwd(), own_umask()

    class Predictor:
        def __init__(self) -> None:
            os.umask(mask)
            os.chdir(here)
            self._predict = make()

        def __call__(self, block: pd.DataFrame) -> pd.DataFrame:
            numbers = block[POSITION].to_numpy()
            found, reasons = self._predict(block.drop(columns=POSITION).set_axis(numbers))
            told = [reasons.get(row, "") for row in range(len(block))]
            found[POSITION], found[REASON] = numbers, told
            return found.reset_index(drop=True)

    return Predictor


def _joined(pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all pieces; a column that only some of them have is empty in the others."""
    import pandas as pd

    widest = max(pieces, key=lambda piece: len(piece.columns))
    joined = pd.concat(pieces, ignore_index=True)[list(widest.columns)]
    for name in widest.columns:
        if any(name not in piece for piece in pieces):
            column = joined[name].astype(object)
            joined[name] = column.where(column.notna(), None)
    return joined


def _cause(error: BaseException) -> BaseException:
    """Return the error that a process raised, out of those that Ray wrapped around it."""
    known: BaseException | None = error
    while known is not None and not isinstance(known, DeclarlmError):
        known = getattr(known, "cause", None) or known.__cause__
    return known or error
