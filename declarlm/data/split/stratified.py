"""Stratified split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import param
from declarlm.data.sampling import SPLIT, shuffled
from declarlm.data.split.base import ShareSplit, codes_of, splits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@splits.register("stratified")
class StratifiedSplit(ShareSplit):
    """Give every part the same mix of labels as the whole table, to within one row for each label.

    What rounding takes from a part with one label, it gets back with the next, so that the parts keep their
    sizes however many labels there are. A label with a single row is always trained on. Rows without a label
    are one more stratum.
    """

    class Config(ShareSplit.Config):
        column: str = param("Column whose values every part is to have in the same proportions.")

    def assign(self, table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray[Any, Any]:
        import numpy as np

        codes = codes_of(table, self.config.column)
        wanted = np.asarray(shares, dtype=np.float64)
        # Folds, which are all alike, need no such rule.
        trains = wanted[0] > wanted[1:].max(initial=0)
        owed = np.zeros(len(wanted))
        parts = np.empty(len(table), dtype=np.int64)
        by_code = np.argsort(codes, kind="stable")
        first = np.flatnonzero(np.diff(codes[by_code], prepend=-2))
        for rows in np.split(by_code, first[1:]):
            owed += len(rows) * wanted
            counts = np.floor(len(rows) * wanted + 1e-9).astype(np.int64)
            lacking = np.where(wanted > 0, owed - counts, -np.inf)
            counts[np.argsort(-lacking, kind="stable")[: len(rows) - counts.sum()]] += 1
            if trains and not counts[0]:
                counts[np.argmax(counts)] -= 1
                counts[0] = 1
            owed -= counts
            order = shuffled(len(rows), seed, SPLIT, int(codes[rows[0]]) + 1)
            parts[rows[order]] = np.repeat(np.arange(len(wanted)), counts)
        return parts
