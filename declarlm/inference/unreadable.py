"""Which rows of a table cannot be read, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError

if TYPE_CHECKING:
    import pandas as pd


def unreadable(
    read: Callable[[pd.DataFrame], object],
    table: pd.DataFrame,
    columns: Iterable[tuple[str, Callable[[pd.Series], object]]] = (),
) -> dict[int, str]:
    """Return why each row that cannot be read cannot, by its position, in order.

    Args:
        read: Raises a DataError where it cannot read a row.
        table: The rows.
        columns: What reads single columns for ``read``, by their name. Wrong cells are found faster so.
    """
    found: dict[int, str] = {}
    for name, read_column in columns:
        cells = table[[name]]
        found = {**_search(lambda part, name=name, read=read_column: read(part[name]), cells), **found}  # type: ignore[misc]
    rest = [row for row in range(len(table)) if row not in found]
    if rest:
        found |= {rest[place]: reason for place, reason in _search(read, table.iloc[rest]).items()}
    return dict(sorted(found.items()))


def _search(read: Callable[[Any], object], rows: pd.DataFrame, start: int = 0) -> dict[int, str]:
    """Return the reasons by position; ``start`` is that of the first row.

    What can be read as a whole is read once, all else by halves: an error may name its row by a label that several
    rows share, and names one of many.
    """
    try:
        read(rows)
    except DataError as error:
        if len(rows) == 1:
            # A message may quote half of a surrogate pair, which no table holds.
            return {start: _reason(error, rows).encode(errors="backslashreplace").decode()}
        half = len(rows) // 2
        return {**_search(read, rows.iloc[:half], start), **_search(read, rows.iloc[half:], start + half)}
    return {}


def _reason(error: DataError, row: pd.DataFrame) -> str:
    """Return the message of an error about a table of one row, with its column and row."""
    if error.row is not None:
        return str(error)
    if error.column in row.columns and row[error.column].isna().all():
        # In a table of one row, a missing cell is a column without any value, and named as that.
        return str(DataError("is missing", column=error.column, row=row.index[0]))
    return f"row {row.index[0]}: {error}"
