"""Split in the order of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.data.split.base import ShareSplit, sizes, splits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@splits.register("sequential")
class SequentialSplit(ShareSplit):
    """Train on the first rows, validate on those after them, test on the last.

    For rows whose order means something, such as the lines of a book.
    """

    foldable = False

    def assign(self, table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.repeat(np.arange(len(shares)), sizes(len(table), shares))
