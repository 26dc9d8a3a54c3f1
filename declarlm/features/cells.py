"""How a cell becomes a text or a number: one rule for tables read as text and for typed DataFrames."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Form = Literal["text", "bool", "int", "float"]

# Beyond 2 ** 53 a float no longer holds every whole number.
_WHOLE = 2.0**53
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def cell_text(value: Any) -> str:
    """Return the text of a cell that is not missing.

    A string stays as written. A number is written as a file would hold it, whole ones without a decimal
    point, so that the label ``1`` is the same whether it is read from a CSV file, from an integer column, or
    from a float column (which is what pandas makes of integers with a gap). Words are joined by spaces.

    >>> cell_text("1.0"), cell_text(1.0), cell_text(1), cell_text(True), cell_text(["a", "b"])
    ('1.0', '1', '1', 'True', 'a b')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        return str(int(number)) if abs(number) < _WHOLE and number.is_integer() else str(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


def decimal_text(text: str, number: float) -> str:
    """Return a cell's number without exponent, plus sign or bare point; ``number`` stands in for unusual spellings.

    >>> decimal_text("1.50", 1.5), decimal_text(" .5", 0.5), decimal_text("1e-05", 1e-05)
    ('1.50', '0.5', '0.00001')
    """
    if _DECIMAL.fullmatch(text):
        return text
    try:
        return format(Decimal(text.strip()), "f")
    except InvalidOperation:
        return format(Decimal(repr(float(number))), "f")


def as_texts(column: pd.Series) -> pd.Series:
    """Return the column as texts, with None where a cell is missing, ``object (rows,)``."""
    import pandas as pd

    cells = zip(column.tolist(), column.isna().tolist(), strict=True)
    texts = [None if missing else cell_text(cell) for cell, missing in cells]
    return pd.Series(texts, index=column.index, name=column.name, dtype=object)


def as_numbers(column: pd.Series) -> pd.Series:
    """Return the column as numbers, with NaN where a cell is missing, ``float64 (rows,)``.

    Raises:
        DataError: If a cell is not a finite number; true and false are none either.
    """
    import numpy as np
    import pandas as pd

    missing = column.isna().to_numpy()
    is_bool = np.array([isinstance(cell, bool | np.bool_) for cell in column.tolist()], dtype=bool)
    parsed = pd.to_numeric(column, errors="coerce") if column.dtype != object else column.map(_parsed)
    values: np.ndarray[Any, Any] = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~missing & (is_bool | ~np.isfinite(values)))
    if wrong.size:
        cell = column.iloc[int(wrong[0])]
        remedy = (
            "use type: binary"
            if is_bool[wrong[0]]
            else "write a point before decimals and nothing between thousands"
            if isinstance(cell, str) and re.fullmatch(r"\s*-?[\d.]*\d,\d[\d,]*(\.\d*)?\s*", cell)
            else f"add {json.dumps(cell_text(cell), ensure_ascii=False)} to preprocessing.missing_values "
            "or clean the column"
        )
        shown = repr(cell) if isinstance(cell, str) else str(cell)
        raise DataError(f"{shown} is not a number; {remedy}", column=str(column.name), row=column.index[wrong[0]])
    return pd.Series(values, index=column.index, name=column.name)


def _parsed(cell: Any) -> float:
    """Return the number in a cell of a column of mixed types, NaN if it holds none."""
    import pandas as pd

    if isinstance(cell, Real | Decimal):
        try:
            return float(cell)
        except OverflowError:  # A whole number may be longer than any float.
            return math.inf
    return float(pd.to_numeric(cell, errors="coerce")) if isinstance(cell, str) else math.nan


def form_of(column: pd.Series) -> Form:
    """Return what kind of values a column holds; mixed ones count as text."""
    import numpy as np

    forms: dict[type, Form] = {bool: "bool", np.bool_: "bool"}
    found: set[Form] = set()
    for cell_type in {type(cell) for cell in column.dropna().tolist()}:
        numeric: Form = "int" if issubclass(cell_type, Integral) else "float" if issubclass(cell_type, Real) else "text"
        found.add(forms.get(cell_type, numeric))
    return found.pop() if len(found) == 1 else "text"


def in_form(text: str, form: Form) -> str | bool | int | float:
    """Return a cell's text as the kind of value that it was."""
    if form == "bool":
        return text == "True"
    return int(text) if form == "int" else float(text) if form == "float" else text


def first(rows: np.ndarray[Any, Any], column: pd.Series) -> object:
    """Return the index label of the first row that is True in ``rows``."""
    return column.index[int(rows.argmax())]


def by_frequency(values: pd.Series) -> dict[str, int]:
    """Return how often each value that is not missing occurs, most frequent first, then by name."""
    counts = values.dropna().value_counts()
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))  # type: ignore[arg-type]
