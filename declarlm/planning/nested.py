"""What the lists and mappings of a column are: labels, numbers, objects, or the turns of a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from declarlm.features.lists import parts_of

if TYPE_CHECKING:
    import pandas as pd

MAX_LABELS = 200
_TURNS = ({"role", "content"}, {"from", "value"})


def nested(cells: pd.Series) -> list[Any] | None:
    """Return each cell as a list or a mapping, also where its text stands for one; None if any is neither."""
    found = []
    for cell in cells.tolist():
        value = cell if isinstance(cell, Mapping) else parts_of(cell)
        if value is None and isinstance(cell, str) and cell.lstrip().startswith("{"):
            value = _object(cell)
        if value is None:
            return None
        found.append(value)
    return found or None


def _object(text: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def judge_nested(cells: Sequence[Any]) -> tuple[str | None, str]:
    """Return the feature type of cells that are lists or mappings, and a note on them."""
    parts = [part for cell in cells if not isinstance(cell, Mapping) for part in cell]
    if any(isinstance(cell, Mapping) for cell in cells):
        return "json", "objects"
    if not parts:
        return None, "empty lists"
    if all(isinstance(part, Mapping) for part in parts):
        turns = all(any(keys <= set(part) for keys in _TURNS) for part in parts)
        return ("conversation", "turns of a conversation") if turns else ("json", "lists of objects")
    if all(isinstance(part, Real) and not isinstance(part, bool) for part in parts):
        sizes = {len(cell) for cell in cells}
        return ("vector", f"{sizes.pop()} numbers") if len(sizes) == 1 else (None, "lists of numbers, not equally many")
    if not all(isinstance(part, str) for part in parts):
        return None, "lists of different kinds of values"
    labels = set(parts)
    if len(labels) <= MAX_LABELS and all(len(set(cell)) == len(cell) for cell in cells):
        return "set", f"any of {len(labels)} labels"
    return None, "lists of words"


def tagged(table: pd.DataFrame, target: str) -> str | None:
    """Return the column whose words have a tag each in the lists of ``target``, None if there is none.

    A list of words counts before a text, whose words stand between white space.
    """
    rows = table[table[target].notna()]
    tags = nested(rows[target])
    if tags is None or not all(isinstance(tag, str) for cell in tags for tag in cell):
        return None
    sizes = [len(cell) for cell in tags]
    if len(set(sizes)) == 1:
        return None
    texts = None
    for name in table.columns:
        cells = rows[name].tolist()
        if name == target or not all(isinstance(cell, str | list) for cell in cells):
            continue
        if [len(cell.split() if isinstance(cell, str) else cell) for cell in cells] == sizes:
            if all(isinstance(cell, list) for cell in cells):
                return str(name)
            texts = texts or str(name)
    return texts
