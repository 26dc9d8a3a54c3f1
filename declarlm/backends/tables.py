"""A table that is predicted by several processes of Ray, block by block."""

from __future__ import annotations

import logging
import math
import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.backends.cluster import own_umask
from declarlm.core import DeclarlmError

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.backends.base import Predict

MAX_BLOCK = 4096  # rows of a block
BLOCKS = 4  # for each process, so that one that is slow does not hold the others up


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

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    size = max(1, min(MAX_BLOCK, math.ceil(len(table) / (BLOCKS * num_processes))))
    starts = range(0, max(1, len(table)), size)
    # As bytes, since Ray would turn cells into those of Arrow, which are others, or are refused.
    blocks = [{"start": start, "rows": pickle.dumps(table.iloc[start : start + size])} for start in starts]
    processes = ray.data.ActorPoolStrategy(size=min(num_processes, len(blocks)))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of Ray, about what it is passed
        rows = ray.data.from_items(blocks, override_num_blocks=len(blocks))
        found = rows.map(_actor(make), compute=processes, **needs)
    # What our own processes answer, never a file: pickled, as everything is that Ray passes between them.
    results = [(row["start"], pickle.loads(row["found"])) for row in found.iter_rows()]  # noqa: S301
    results.sort(key=itemgetter(0))
    for _, result in results:
        if isinstance(result, DeclarlmError):
            raise result
    reasons = {start + row: reason for start, (_, told) in results for row, reason in told.items()}
    return _joined([predictions for _, (predictions, _) in results]).set_axis(table.index), reasons


def _actor(make: Callable[[], Predict]) -> type:
    """Return the class that Ray makes one object of in each process."""
    here, mask = Path.cwd(), own_umask()

    class Predictor:
        def __init__(self) -> None:
            os.umask(mask)
            os.chdir(here)
            self._predict: Predict | None = None

        def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
            found: Any
            try:
                self._predict = self._predict or make()
                found = self._predict(pickle.loads(block["rows"]))  # noqa: S301  # what the leader has sent
            except DeclarlmError as error:  # Ray would wrap it in errors of its own.
                found = error
            return {"start": block["start"], "found": pickle.dumps(found)}

    return Predictor


def _joined(pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all pieces; a column that only some of them have is empty in the others."""
    import pandas as pd

    widest = max(pieces, key=lambda piece: len(piece.columns))
    joined = pd.concat(pieces, ignore_index=True)[list(widest.columns)]
    for name in widest.columns:
        if any(name not in piece for piece in pieces):
            empty = joined[name].isna()
            # From a list, so that the type is what pandas makes of all cells together.
            joined[name] = [None if is_empty else cell for cell, is_empty in zip(joined[name], empty, strict=True)]
    return joined
