"""Tables in binary files: Parquet, Arrow, Feather and Excel."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from declarlm.core import DataError
from declarlm.data.columns import ColumnBuilder, check_names, objects, require, text_array
from declarlm.data.text_files import Columns

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path, keep: Collection[str] | None) -> Columns:
    """Read Parquet; only the columns to keep leave the disk."""
    from pyarrow import parquet

    with _readable(path, "Parquet"):
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        check_names(names, path.name)
        require(names, keep or (), path.name)
        table = file.read(columns=None if keep is None else [name for name in names if name in keep])
        table.validate(full=True)
    return arrow_columns(table, keep, path.name)


def read_arrow(path: Path, keep: Collection[str] | None) -> Columns:
    """Read an Arrow file (which Feather is today) or an Arrow stream."""
    from pyarrow import ipc

    with _readable(path, "Arrow"), path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        table = (ipc.open_file(file) if is_file else ipc.open_stream(file)).read_all()
        table.validate(full=True)
    return arrow_columns(table, keep, path.name)


def arrow_columns(table: pa.Table, keep: Collection[str] | None, source: str) -> Columns:
    """Return the columns of an Arrow table; whole numbers with gaps stay whole, lists stay lists.

    The index that pandas keeps in such files as ``__index_level_0__`` is left out.
    """
    import pyarrow as pa

    check_names(table.column_names, source)
    require(table.column_names, keep or (), source)
    columns: Columns = {}
    for name in table.column_names:
        if name.startswith("__index_level_") if keep is None else name not in keep:
            continue
        cells = table.column(name)
        if pa.types.is_dictionary(cells.type):
            cells = cells.cast(cells.type.value_type)
        if pa.types.is_nested(cells.type):
            columns[name] = objects(cells.to_pylist())
        elif cells.type in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
            columns[name] = text_array(cells)
        else:
            columns[name] = cells.to_pandas(integer_object_nulls=True).array
    return columns


def read_excel(path: Path, keep: Collection[str] | None) -> Columns:
    """Read the first sheet; a formula counts as the value that was saved with it."""
    try:
        import openpyxl
    except ImportError:
        raise DataError('reading Excel needs openpyxl: pip install "declarlm[excel]"') from None
    with _readable(path, "Excel"), path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Styles and extensions that openpyxl does not know hold no cells.
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        rows = ((line, _trimmed(cells)) for line, cells in enumerate(book.worksheets[0].values, start=1))
        return _sheet(((line, cells) for line, cells in rows if cells), keep, path.name)


def _sheet(rows: Iterator[tuple[int, list[Any]]], keep: Collection[str] | None, source: str) -> Columns:
    header = ["" if name is None else str(name) for name in next(rows, (0, []))[1]]
    if not header:
        raise DataError(f"{source} is empty")
    check_names(header, source)
    require(header, keep or (), source)
    builders = [ColumnBuilder(name) for name in header]
    for line, cells in rows:
        if len(cells) > len(header):
            raise DataError(f"{source}, line {line}: {len(cells)} cells, the header has {len(header)}")
        for builder, cell in zip(builders, cells + [None] * (len(header) - len(cells)), strict=True):
            builder.append(cell)
    return {builder.name: builder.finish() for builder in builders if keep is None or builder.name in keep}


def _trimmed(cells: tuple[Any, ...]) -> list[Any]:
    """Return a row without its empty end, which only formatting made part of the sheet."""
    length = max((index for index, cell in enumerate(cells, start=1) if cell is not None), default=0)
    return list(cells[:length])


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turn what a library says about a damaged file into an error.

    Raises:
        DataError: If the file is not what its name says.
    """
    import pyarrow as pa

    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, BadZipFile, KeyError, ValueError, OSError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path.name} is not a readable {kind} file: {told[0]}") from None
