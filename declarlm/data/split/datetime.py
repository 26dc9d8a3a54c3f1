"""Split by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError, param
from declarlm.data.columns import require
from declarlm.data.split.base import ShareSplit, sizes, splits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@splits.register("datetime")
class DatetimeSplit(ShareSplit):
    """Train on the oldest rows, validate on later ones, test on the newest.

    Rows of the same time stay together. The column holds dates (ISO 8601, or as ``datetime_format`` says) or
    numbers that grow with time.
    """

    foldable = False

    class Config(ShareSplit.Config):
        column: str = param("Column with the time of each row.")
        datetime_format: str | None = param(
            "How dates are written, as in Python's strptime: %d.%m.%Y; null for ISO 8601 or numbers.", default=None
        )

    def assign(self, table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray[Any, Any]:
        import numpy as np

        times = times_of(table, self.config.column, self.config.datetime_format)
        in_order = np.sort(times)
        cuts = np.cumsum(sizes(len(table), shares))[:-1]
        # The last time before each cut; every part begins after it, so that equal times are not torn apart.
        last = np.where(cuts > 0, in_order[cuts - 1], in_order[0] - 1)
        return np.searchsorted(last, times, side="left")


def times_of(table: pd.DataFrame, column: str, datetime_format: str | None) -> np.ndarray[Any, Any]:
    """Return a number for each row that grows with time, ``(rows,)``.

    Raises:
        DataError: If the column is missing, or a cell is neither a date nor a number.
    """
    import numpy as np
    import pandas as pd

    require(list(table.columns), [column], "preprocessing.split")
    cells = table[column]
    is_time = isinstance(cells.dtype, pd.DatetimeTZDtype) or cells.dtype.kind == "M"
    if datetime_format is None and not is_time:
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isfinite(numbers).all():
            return numbers
    times = pd.to_datetime(cells, format=None if is_time else datetime_format or "ISO8601", utc=True, errors="coerce")
    wrong = times.isna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        problem = "is missing" if cells.isna().iloc[row] else f"{cells.iloc[row]!r} is not a date"
        remedy = "write dates as 2026-01-31, or how they are written as preprocessing.split.datetime_format"
        raise DataError(f"{problem}; {remedy}", column=column, row=table.index[row])
    return times.astype("datetime64[ns, UTC]").astype(np.int64).to_numpy()
