"""Lists and mappings as Python prints them, which is what pandas writes into a CSV file."""

from __future__ import annotations

import ast
import tokenize
from io import StringIO
from typing import Any

_MAX_DEPTH = 20
_OPENS, _CLOSES = frozenset("[{("), frozenset("]})")
_VALUES = (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
_LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def python_literal(text: str) -> Any:
    """Return the value that a text prints, None if it prints none.

    Between the parts of an array stands white space, where a list has commas.

    >>> python_literal("['a', 'b']"), python_literal("['a' 'b']"), python_literal("[ 1. -2.]"), python_literal("[a]")
    (['a', 'b'], ['a', 'b'], [1.0, -2.0], None)
    """
    try:
        return ast.literal_eval(_with_commas(text.strip()))
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def _with_commas(text: str) -> str:
    """Return a text with a comma between any two values that have nothing between them.

    Raises:
        ValueError: If it is nested too deeply to be read safely, or was shortened when it was printed.
    """
    parts: list[str] = []
    depth, after_value = 0, False
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type in _LAYOUT:
            continue
        depth += (token.string in _OPENS) - (token.string in _CLOSES)
        if depth > _MAX_DEPTH or token.string == "...":
            raise ValueError(text)
        begins = token.type in _VALUES or token.string in _OPENS or token.string == "-"
        parts += [","] * (after_value and begins) + [token.string]
        after_value = token.type in _VALUES or token.string in _CLOSES
    return " ".join(parts)
