"""Group split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError, param
from declarlm.data.sampling import SPLIT, shuffled
from declarlm.data.split.base import ShareSplit, codes_of, splits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@splits.register("group")
class GroupSplit(ShareSplit):
    """Keep the rows of one group, such as a customer or a document, in one part.

    Groups go, the largest first, to the part that lacks most rows, so the shares hold as nearly as whole groups
    allow.
    """

    class Config(ShareSplit.Config):
        column: str = param("Column that names the group of a row.")

    def assign(self, table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray[Any, Any]:
        import numpy as np

        codes = codes_of(table, self.config.column)
        if (codes < 0).any():
            label = table.index[int((codes < 0).argmax())]
            raise DataError("names no group; fill it in or leave the row out", column=self.config.column, row=label)
        counts = np.bincount(codes)
        order = shuffled(len(counts), seed, SPLIT)
        order = order[np.argsort(-counts[order], kind="stable")]
        lacking = len(table) * np.asarray(shares, dtype=np.float64)
        part_of = np.empty(len(counts), dtype=np.int64)
        for group in order:
            part_of[group] = lacking.argmax()
            lacking[part_of[group]] -= counts[group]
        for part in np.flatnonzero(np.asarray(shares) > 0):
            groups = np.bincount(part_of, minlength=len(shares))
            if not groups[part] and groups.max() > 1:
                part_of[order[part_of[order] == groups.argmax()][-1]] = part
        parts: np.ndarray[Any, Any] = part_of[codes]
        return parts
