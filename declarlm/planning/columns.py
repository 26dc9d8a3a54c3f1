"""What the columns of a table are, judged by their cells: a feature type each, or why one is of no use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from declarlm.planning.nested import judge_nested, nested

if TYPE_CHECKING:
    import pandas as pd

MAX_CATEGORIES = 200
MIN_ROWS_PER_CATEGORY = 3
MAX_LABEL_WORDS = 4
FEW_NUMBERS = 10
MOSTLY = 0.9  # share of numbers in a column whose other cells say that there is none
MIN_ROWS = 20  # fewer do not show that a column is an identifier, or follows from another
UNEXPLAINED = 0.02
SHOWN_CHARACTERS = 30
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}( .*)?")
_DATE_FORMATS = ("%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%m/%d/%y", "%d/%m/%Y", "%d/%m/%y")
_TIMES = ("", " %H:%M", " %H:%M:%S")
_IDENTIFIER = re.compile(r"(.*[_ ])?(id|index|uuid|key|no|number)|unnamed.*|", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """What a column looks like.

    Attributes:
        name: Name of the column.
        type: Feature type that fits it, ``None`` for one that is left out.
        note: What was seen, or why it is left out, for a comment.
        gaps: Cells that stand for a missing number, such as ``n/a``.
        num_missing: Empty cells.
        num_distinct: Different cells.
        num_words: Mean words of a cell.
        datetime_format: How its dates are written; ``None`` is ISO 8601.
    """

    name: str
    type: str | None
    note: str = ""
    gaps: tuple[str, ...] = ()
    num_missing: int = 0
    num_distinct: int = 0
    num_words: float = 0.0
    datetime_format: str | None = None


def describe(table: pd.DataFrame, name: str) -> Column:
    """Return the feature type that fits the cells of a column."""
    cells = table[name].dropna()
    cells = cells[cells.map(lambda cell: not isinstance(cell, str) or cell.strip() != "")]
    parts = nested(cells)
    if parts is not None:
        kind, note = judge_nested(parts)
        return Column(name, kind, note, (), len(table) - len(cells), len(set(map(repr, parts))))
    if cells.map(lambda cell: isinstance(cell, list | dict)).any():
        return Column(name, None, "lists or objects beside other cells")
    texts = cells.astype(str).str.strip()
    if texts.nunique() > 2 and texts.map(lambda text: bool(_DATE.fullmatch(text))).all():
        return replace(_dates(name, texts), num_missing=len(table) - len(texts), num_distinct=texts.nunique())
    kind, note, gaps = _judge(name, texts)
    words = float(texts.str.split().map(len).mean()) if len(texts) else 0.0
    return Column(name, kind, note, gaps, len(table) - len(texts), texts.nunique(), words)


def _judge(name: str, texts: pd.Series) -> tuple[str | None, str, tuple[str, ...]]:
    """Return type, note and what stands for a missing number."""
    import pandas as pd

    distinct = texts.nunique()
    if distinct <= 1:
        return None, "one value only" if distinct else "empty", ()
    if distinct == 2:
        return "binary", " or ".join(map(shown, sorted(texts.unique()))), ()
    numbers = pd.to_numeric(texts, errors="coerce")
    others = sorted(texts[numbers.isna()].unique())
    if not others and _is_identifier(name, numbers):
        return None, "an identifier", ()
    if not others and distinct <= FEW_NUMBERS:
        return "category", f"{distinct} values; as a number, if their order matters", ()
    if not others:
        return "number", "", ()
    if numbers.notna().mean() >= MOSTLY and len(others) <= 3:
        return "number", f"{', '.join(map(shown, others))}: missing", tuple(others)
    if distinct == len(texts) >= MIN_ROWS and not texts.str.contains(r"\s").any():
        return None, "an identifier: every cell is another word", ()
    words = float(texts.str.split().map(len).mean())
    repeats = distinct <= min(MAX_CATEGORIES, len(texts) // MIN_ROWS_PER_CATEGORY)
    if repeats and (words < MAX_LABEL_WORDS or distinct <= len(texts) // 20):
        return "category", f"{distinct} values", ()
    return "text", f"about {words:.0f} words", ()


def _dates(name: str, texts: pd.Series) -> Column:
    """Return a column of dates, and how they are written."""
    import pandas as pd

    def fits(form: str) -> bool:
        return bool(pd.to_datetime(texts, format=form, utc=True, errors="coerce").notna().all())

    if fits("ISO8601"):
        return Column(name, "date")
    forms = [date + time for date in _DATE_FORMATS for time in _TIMES if fits(date + time)]
    if not forms:
        return Column(name, None, "dates in no one format; write them as 2026-11-27")
    note = f"or {forms[1]}: every cell fits both" if len(forms) > 1 else ""
    return Column(name, "date", note, datetime_format=forms[0])


def _is_identifier(name: str, numbers: pd.Series) -> bool:
    """Return whether numbers count the rows, or are all different under a name that says so."""
    if len(numbers) < MIN_ROWS or not numbers.is_unique or (numbers % 1 != 0).any():
        return False
    return bool((numbers.diff().iloc[1:] == 1).all() or _IDENTIFIER.fullmatch(name.strip()))


def follows_from(table: pd.DataFrame, target: str, names: Iterable[str]) -> set[str]:
    """Return the columns whose cells are all but certain once the target is known.

    Such a column was made from the target more often than not, and would give it away. Only rows with a target that
    occurs again can tell; among them, the target must leave next to nothing of what is open without it.
    """
    keys = _texts(table[target])
    keys = keys[keys.duplicated(keep=False)]
    found = set()
    for name in names:
        cells = _texts(table[name])[keys.index]
        pairs = cells.groupby(keys.to_numpy()).value_counts()
        open_before = len(cells) - cells.value_counts().max() if len(cells) else 0
        open_after = len(cells) - pairs.groupby(level=0).max().sum()
        if open_before >= MIN_ROWS and open_after <= UNEXPLAINED * open_before:
            found.add(name)
    return found


def _texts(cells: pd.Series) -> pd.Series:
    """Return the cells as texts, numbered from 0."""
    return cells.astype(object).where(cells.notna(), "").astype(str).reset_index(drop=True)


def shown(text: str) -> str:
    """Return a cell as a comment shows it: one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 3]}..."
