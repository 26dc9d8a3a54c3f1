"""Random split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.data.sampling import SPLIT, shuffled
from declarlm.data.split.base import ShareSplit, sizes, splits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@splits.register("random")
class RandomSplit(ShareSplit):
    """Draw the rows of each part at random."""

    def assign(self, table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray[Any, Any]:
        import numpy as np

        parts = np.empty(len(table), dtype=np.int64)
        parts[shuffled(len(table), seed, SPLIT)] = np.repeat(np.arange(len(shares)), sizes(len(table), shares))
        return parts
