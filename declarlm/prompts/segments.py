"""Pieces of a prompt that remember where they came from.

Inside a Jinja template a cell is a ``Cell``: a ``str`` that carries its origin. A marker string in place of the
text would break filters (``upper``), conditions and lengths; a ``str`` subclass passes through all of them.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from declarlm.prompts.budget import spend


class Segment(NamedTuple):
    """A stretch of a prompt.

    Attributes:
        text: What is written there.
        column: The column whose cell it is; ``None`` for the template's own words.
        token: Id of the token it stands for, if it is a special token.
        learned: For an earlier answer in a conversation, or its end, whether it is learned; ``None`` for all else.
    """

    text: str
    column: str | None = None
    token: int | None = None
    learned: bool | None = None


class Cell(str):
    """Text that is at least partly from the table; ``pieces`` tell which part."""

    __slots__ = ("_pieces",)
    _pieces: tuple[Segment, ...]

    def __new__(cls, pieces: Sequence[Segment]) -> Self:
        self = super().__new__(cls, "".join(piece.text for piece in pieces))
        self._pieces = tuple(pieces)
        return self

    def __str__(self) -> str:
        return self  # str(cell) must stay a cell: Jinja calls it on everything that it prints.

    def __getitem__(self, key: Any) -> str:
        return mark(super().__getitem__(key), column_of(self))

    def __iter__(self) -> Iterator[str]:
        for character in super().__iter__():
            spend(1)
            yield mark(character, column_of(self))


class Neutral(str):
    """Text that stands for a cell of any type where a prompt is to have no content."""

    __slots__ = ()


def mark(text: str, column: str | None) -> Cell:
    """Return ``text`` as text of ``column``."""
    return Cell([Segment(str.__str__(text), column)])


def pieces_of(text: str) -> tuple[Segment, ...]:
    """Return what ``text`` is made of; text that is no cell is the template's own."""
    return text._pieces if isinstance(text, Cell) else (Segment(text),)


def column_of(cell: Cell) -> str | None:
    """Return the first column that ``cell`` has text from."""
    return next((piece.column for piece in cell._pieces if piece.column is not None), None)


def join(parts: Iterable[str]) -> str:
    """Return ``"".join(parts)``, as a cell if a part is one."""
    parts = list(parts)
    if not any(isinstance(part, Cell) for part in parts):
        return "".join(parts)
    return Cell([piece for part in parts for piece in pieces_of(part)])


def mark_all(value: Any, column: str | None) -> Any:
    """Return a result that was computed from text of ``column``, with every string in it marked so."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, str):
        return mark(value, column)
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(mark_all(item, column) for item in value)
    if type(value) is dict:
        return {mark_all(key, column): mark_all(item, column) for key, item in value.items()}
    return value


def merge(segments: Iterable[Segment]) -> list[Segment]:
    """Join neighbours of the same origin and drop empty ones."""
    merged: list[Segment] = []
    for segment in segments:
        if not segment.text:
            continue
        if merged and segment.token is None and merged[-1].token is None and merged[-1].column == segment.column:
            merged[-1] = Segment(merged[-1].text + segment.text, segment.column)
        else:
            merged.append(segment)
    return merged


def strip(segments: Sequence[Segment], *, left: bool, right: bool) -> list[Segment]:
    """Remove the white space at the ends of the whole, as ``str.strip`` would from the joined text."""
    remaining = list(segments)
    while left and remaining:
        remaining[0] = remaining[0]._replace(text=remaining[0].text.lstrip())
        if remaining[0].text:
            break
        del remaining[0]
    while right and remaining:
        remaining[-1] = remaining[-1]._replace(text=remaining[-1].text.rstrip())
        if remaining[-1].text:
            break
        del remaining[-1]
    return remaining


def is_missing(value: object) -> bool:
    """Return whether a cell holds nothing: ``None``, NaN, ``pandas.NA`` or ``NaT``."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and bool(value != value)


def cell_text(value: object) -> str:
    """Return a cell as text: a missing one is empty, 3.0 is ``3`` (a gap elsewhere makes integers floats)."""
    if type(value) is str:
        return value
    if is_missing(value):
        return ""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else str(value)
    if isinstance(plain := _plain(value), list | dict):
        return json.dumps(plain, ensure_ascii=False, default=cell_text)
    return str(value)


def cell_value(value: object, column: str) -> Any:
    """Return a cell as a Jinja template sees it: text, or a list or mapping in which all text is marked."""
    plain = _plain(value)
    return _inner(plain, column) if isinstance(plain, list | dict) else mark(cell_text(value), column)


def _inner(value: Any, column: str) -> Any:
    if isinstance(value, list):
        return [_inner(_plain(item), column) for item in value]
    if isinstance(value, dict):
        return {mark(cell_text(key), column): _inner(_plain(item), column) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float):
        return value
    return mark(cell_text(value), column)


def _plain(value: Any) -> Any:
    """Return sequences (Parquet reads them as arrays) as lists and mappings as dicts."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") and hasattr(value, "__len__") else value
