"""The words of a text cell, and which input's words an output tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.core.fields import shown
from declarlm.features.lists import parts_of

if TYPE_CHECKING:
    import pandas as pd

Spans = list[tuple[int, int]]
_WORD = re.compile(r"\S+")


def word_spans(column: pd.Series, texts: Sequence[str], change: Callable[[str], str]) -> list[Spans]:
    """Return where each word of each text starts and ends, in characters.

    A cell that is a list holds the words; of a text, they are what white space separates.

    Args:
        column: The cells.
        texts: What was read from them, words of a list joined by single spaces.
        change: What reading did to each word of a list.

    Raises:
        DataError: If a list holds anything but words, or is written as text, whose words would have its commas.
    """
    spans = []
    for cell, text, row in zip(column.tolist(), texts, column.index, strict=True):
        words = cell.tolist() if hasattr(cell, "tolist") else cell
        if isinstance(words, str) and (parts := parts_of(words)) and all(isinstance(part, str) for part in parts):
            remedy = "write words between spaces, or use a JSONL or Parquet file, which hold lists"
            raise DataError(f"{shown(cell)} is a list that became text; {remedy}", column=str(column.name), row=row)
        if not isinstance(words, list | tuple):
            spans.append([match.span() for match in _WORD.finditer(text)])
            continue
        if not all(isinstance(word, str) for word in words):
            raise DataError(f"the list {words!r} must hold words only", column=str(column.name), row=row)
        spans.append(_laid_out(map(change, words)))
    return spans


def _laid_out(words: Iterable[str]) -> Spans:
    """Return where words stand that are joined by single spaces."""
    spans, start = [], 0
    for word in words:
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return spans


def tagged_input(output: Any, inputs: Sequence[Any]) -> Any:
    """Return the section of the input whose words an output tags: the one that ``of`` names, or the only one.

    None if there is no such input, or several and no ``of``.
    """
    with_words = [feature for feature in inputs if hasattr(feature.plugin, "words")]
    if output.of is None:
        return with_words[0] if len(with_words) == 1 else None
    return next((feature for feature in with_words if feature.name == output.of), None)
