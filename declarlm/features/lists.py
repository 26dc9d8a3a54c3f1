"""Cells that hold several values: lists, JSON lists, or texts whose parts something separates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.features.cells import cell_text
from declarlm.features.literals import python_literal

if TYPE_CHECKING:
    import pandas as pd


def as_lists(column: pd.Series, cut: Callable[[str], Sequence[str]] = str.split) -> pd.Series:
    """Return the column as lists of texts, with None where a cell is missing, ``object (rows,)``.

    Args:
        column: Cells that are lists, or texts.
        cut: Divides a text that is no JSON list, by default at white space.

    Raises:
        DataError: If a cell is a mapping, or a list holds lists, mappings or missing values.
    """
    import pandas as pd

    cells = zip(column.tolist(), column.isna().tolist(), column.index, strict=True)
    lists = [None if missing else _texts(cell, cut, str(column.name), row) for cell, missing, row in cells]
    return pd.Series(lists, index=column.index, name=column.name, dtype=object)


def _texts(cell: Any, cut: Callable[[str], Sequence[str]], column: str, row: object) -> list[str]:
    if isinstance(cell, dict):
        raise DataError(f"{cell!r} is a mapping; write a list of texts or numbers", column=column, row=row)
    parts = parts_of(sorted(cell, key=str) if isinstance(cell, set | frozenset) else cell)
    if parts is None:
        return list(cut(cell_text(cell)))
    for part in parts:
        if part is None or part != part or isinstance(part, list | dict):
            raise DataError(f"the list {cell!r} holds {part!r}; it must hold texts or numbers", column=column, row=row)
    return [cell_text(part) for part in parts]


def parts_of(cell: Any) -> list[Any] | None:
    """Return the parts of a cell that is a list, an array, or the text of one: JSON, or as Python prints it."""
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, list | tuple):
        return list(cell)
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            found = json.loads(cell)
        except (ValueError, RecursionError):
            found = python_literal(cell)
        return found if isinstance(found, list) else None
    return None


def json_list(parts: Sequence[Any]) -> str:
    """Return a list as JSON, which ``parts_of`` reads back."""
    return json.dumps(list(parts), ensure_ascii=False)
