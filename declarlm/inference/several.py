"""Predictions of several adapters on one base, each for its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.core.errors import choose_from
from declarlm.data.columns import objects
from declarlm.data.tables import require_columns

if TYPE_CHECKING:
    import pandas as pd


def rows_by_adapter(table: pd.DataFrame, column: str, known: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of the rows of each adapter that a column names, in the order of ``known``.

    Raises:
        DataError: If the column is missing, or a cell names no adapter; with the first such row.
    """
    import pandas as pd

    require_columns(table, [column])
    rows: dict[str, list[int]] = {name: [] for name in known}
    for place, cell in enumerate(table[column].tolist()):
        if pd.isna(cell) or str(cell) not in rows:
            found = "is empty, and must name an adapter" if pd.isna(cell) else "no adapter is named"
            named = choose_from(str(cell), known) if not pd.isna(cell) else f"choose from: {', '.join(sorted(known))}"
            separator = ": " if pd.isna(cell) else " "
            raise DataError(f"{found}{separator}{named}", column=column, row=table.index[place])
        rows[str(cell)].append(place)
    return {name: places for name, places in rows.items() if places}


def predict_each(
    table: pd.DataFrame,
    rows: Mapping[str, Sequence[int]],
    predict: Callable[[str, pd.DataFrame], tuple[pd.DataFrame, dict[int, str]]],
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Return the predictions of all rows, in their order, and why rows failed, by position.

    Args:
        table: All rows.
        rows: Positions of the rows of each adapter.
        predict: Returns the same for an adapter and its rows. A column that it does not have is missing in them.
    """
    import pandas as pd

    found = {name: predict(name, table.iloc[list(places)]) for name, places in rows.items()}
    reasons = {rows[name][row]: reason for name, (_, failed) in found.items() for row, reason in failed.items()}
    columns: dict[str, Any] = {}
    for column in dict.fromkeys(column for part, _ in found.values() for column in part.columns):
        cells: list[Any] = [None] * len(table)
        for name, (part, _) in found.items():
            if column in part.columns:
                for place, cell in zip(rows[name], part[column].tolist(), strict=True):
                    cells[place] = cell
        # pandas would make floats of whole numbers and truth values beside a missing one.
        gaps = any(cell is None for cell in cells) and any(isinstance(cell, int) for cell in cells)
        columns[column] = objects(cells) if gaps else cells
    return pd.DataFrame(columns, index=table.index), reasons
