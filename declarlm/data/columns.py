"""How the cells of one column are held: text compactly in Arrow, numbers in NumPy, the rest as it is.

No cell changes its value on the way: ``00123`` stays text, ``[1, 0, None]`` stays whole numbers, and a list or
a mapping stays itself. A missing cell is what pandas calls missing (``isna``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.core.errors import choose_from

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Cells that are turned into Arrow at once: enough to be fast, few enough not to weigh twice.
CHUNK = 16_384


def check_names(names: Iterable[str], source: str) -> None:
    """Refuse two columns of one name.

    Raises:
        DataError: If there are.
    """
    seen = set()
    for name in names:
        if name in seen:
            raise DataError(f"{source}: two columns are named {name!r}; rename one of them")
        seen.add(name)


def require(present: Collection[str], names: Iterable[str], source: str) -> None:
    """Refuse names that are not among the columns present; a table without any is refused for having no rows.

    Raises:
        DataError: With every name that is missing.
    """
    missing = [name for name in dict.fromkeys(names) if name not in present]
    if missing and present:
        problems = [f"no column is named {choose_from(name, present)}" for name in missing]
        raise DataError(f"{source}: {'; '.join(problems)}")


class ColumnBuilder:
    """A column that grows; text is packed as it comes, so that no second copy of a table is held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._cells: list[Any] = []
        self._chunks: list[Any] = []
        self._packed = 0

    def append(self, cell: Any) -> None:
        """Add one cell."""
        self._cells.append(cell)
        if len(self._cells) >= CHUNK:
            self._pack()

    def extend(self, cells: Iterable[Any]) -> None:
        """Add several cells."""
        self._cells.extend(cells)
        if len(self._cells) >= CHUNK:
            self._pack()

    def pad(self, length: int) -> None:
        """Add missing cells until there are ``length`` cells."""
        self.extend([None] * (length - len(self)))

    def finish(self) -> Any:
        """Return the column as a NumPy or a pandas array.

        Raises:
            DataError: If a text holds half of a surrogate pair, which no tokenizer can read.
        """
        import pyarrow as pa

        self._pack()
        if all(isinstance(chunk, pa.Array) for chunk in self._chunks):
            return text_array(pa.chunked_array(self._chunks, type=pa.large_string()))
        cells: list[Any] = []
        for chunk in self._chunks:
            cells += chunk.to_pylist() if isinstance(chunk, pa.Array) else chunk
        return _exact(cells)

    def _pack(self) -> None:
        chunk: Any
        try:
            chunk = packed(self._cells)
        except UnicodeEncodeError:
            position = next(index for index, cell in enumerate(self._cells) if is_broken(cell))
            message = broken_text(self._cells[position])
            raise DataError(message, column=self.name, row=self._packed + position) from None
        self._packed += len(self._cells)
        self._chunks.append(self._cells if chunk is None else chunk)
        self._cells = []

    def __len__(self) -> int:
        return self._packed + len(self._cells)


def packed(cells: Any) -> pa.Array | None:
    """Return cells as Arrow text, None if they are not all text or missing.

    Raises:
        UnicodeEncodeError: If a text holds half of a surrogate pair.
    """
    import pyarrow as pa

    try:
        return pa.array(cells, pa.large_string(), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None


def text_type() -> Any:
    """Return the dtype of text columns, which pandas 3 calls ``str``."""
    import numpy as np
    import pandas as pd

    return pd.StringDtype("pyarrow", na_value=np.nan)


def text_array(chunks: pa.ChunkedArray) -> Any:
    """Return Arrow text as a pandas array, without copying the text."""
    import pyarrow as pa

    return text_type().__from_arrow__(chunks.cast(pa.large_string()))


def tidy(series: pd.Series) -> Any:
    """Return the cells of a user's column as an array: text made compact, categories spelled out, the rest alone.

    Raises:
        DataError: If a text holds half of a surrogate pair.
    """
    import pandas as pd
    import pyarrow as pa

    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    try:
        if str(series.dtype).startswith(("str", "large_string")):
            return series.astype(text_type()).array
        text = packed(series.array) if series.dtype == object else None
    except UnicodeEncodeError:
        position = next(index for index, cell in enumerate(series) if is_broken(cell))
        label = series.index[position]
        raise DataError(broken_text(series.iloc[position]), column=str(series.name), row=label) from None
    return series.array if text is None else text_array(pa.chunked_array([text]))


def blank(cells: Any, missing_values: Collection[str]) -> Any:
    """Return an array in which every cell that reads as one of ``missing_values`` is missing."""
    import numpy as np
    import pandas as pd

    series = pd.Series(cells, copy=False)
    if isinstance(series.dtype, pd.StringDtype):
        found = series.isin(list(missing_values)).to_numpy(dtype=bool)
    elif series.dtype == object:
        found = np.array([_reads_as(cell, missing_values) for cell in cells], dtype=bool)
    elif series.dtype.kind in "iuf":
        numbers = [number for value in missing_values if (number := _number(value)) is not None]
        found = series.isin(numbers).to_numpy(dtype=bool)
    else:
        return cells
    if not found.any():
        return cells
    if isinstance(series.dtype, pd.StringDtype) or series.dtype.kind == "f":
        return series.mask(found).array
    filled = series.to_numpy(dtype=object, copy=True)  # As floats, whole numbers above 2 ** 53 would change.
    filled[found] = None
    return filled


def broken_text(text: str) -> str:
    """Return the message about a text that cannot be written as UTF-8."""
    remedy = "clean it with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
    return f"{text[:60]!r} holds half of a surrogate pair, often a cut emoji; {remedy}"


def is_broken(cell: Any) -> bool:
    """Return whether a cell is a text with half of a surrogate pair."""
    return isinstance(cell, str) and any("\ud800" <= character <= "\udfff" for character in cell)


def objects(cells: Sequence[Any]) -> Any:
    """Return cells as an array of Python objects, lists among them unharmed."""
    import numpy as np

    array = np.empty(len(cells), dtype=object)
    for index, cell in enumerate(cells):
        array[index] = cell
    return array


def _exact(cells: list[Any]) -> Any:
    """Return cells that are not all text as an array that holds each of them unchanged."""
    import numpy as np

    types = set(map(type, cells))
    if types == {bool}:
        return np.array(cells, dtype=bool)
    if types in ({float}, {float, type(None)}):
        return np.array(cells, dtype=np.float64)
    if types == {int} and all(-(2**63) <= cell < 2**63 for cell in cells):
        return np.array(cells, dtype=np.int64)
    return objects(cells)


def _reads_as(cell: Any, missing_values: Collection[str]) -> bool:
    if isinstance(cell, str):
        return cell in missing_values
    return isinstance(cell, int | float) and not isinstance(cell, bool) and str(cell) in missing_values


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
