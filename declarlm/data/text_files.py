"""Tables in text files: CSV, TSV, JSON, JSON lines and plain lines.

They are not left to pandas, which would turn ``NA`` into a missing cell and ``00123`` into 123, and would move
the cells of a ragged line into other columns. Each reader takes a path and the columns to keep, None for all.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from declarlm.core import DataError
from declarlm.data.columns import CHUNK, ColumnBuilder, broken_text, check_names, require

Columns = dict[str, Any]
_DELIMITERS = ",;\t|"
_LARGEST_CELL = 2**31 - 1  # bytes; also the largest C long of every system


def read_csv(path: Path, keep: Collection[str] | None) -> Columns:
    """Read CSV, every cell as it is written; the header tells commas, semicolons, tabs and bars apart."""
    with _opened(path) as file:
        outside_quotes = "".join(file.readline().split('"')[::2])
        file.seek(0)
        delimiter = next((mark for mark in _DELIMITERS if mark in outside_quotes), ",")
        return _read_separated(file, delimiter, keep, path.name)


def read_tsv(path: Path, keep: Collection[str] | None) -> Columns:
    """Read cells that are separated by tabs, and quoted as in CSV."""
    with _opened(path) as file:
        return _read_separated(file, "\t", keep, path.name)


def read_json_lines(path: Path, keep: Collection[str] | None) -> Columns:
    """Read one JSON object a line."""
    with _opened(path) as file:
        return finish(rows_to_columns(_json_rows(file, path.name)), keep, path.name)


def read_json(path: Path, keep: Collection[str] | None) -> Columns:
    """Read a list of rows, a mapping of column names to lists, or JSON lines that are called ``.json``."""
    with _opened(path) as file:
        text = file.read()
    if not text.strip():
        raise DataError(f"{path.name} is empty")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return read_json_lines(path, keep)
        raise DataError(f"{path.name}, line {error.lineno}, character {error.colno}: {_told(error)}") from None
    except RecursionError:
        raise DataError(f"{path.name}: nested too deeply") from None
    if "\\ud" in text.lower():
        _check_surrogates(document, path.name)
    del text
    if isinstance(document, list):
        return finish(rows_to_columns(mappings(document, path.name)), keep, path.name)
    return finish(lists_to_columns(document, path.name), keep, path.name)


def read_lines(path: Path, keep: Collection[str] | None) -> Columns:
    """Read one row per line, blank lines too, into the column ``text``."""
    builder = ColumnBuilder("text")
    with _opened(path) as file:
        for line in file:
            builder.append(line.rstrip("\r\n"))
    return finish({"text": builder}, keep, path.name)


def rows_to_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, ColumnBuilder]:
    """Return the cells of mappings by column; a key that a row lacks is a missing cell."""
    builders: dict[str, ColumnBuilder] = {}
    for count, row in enumerate(rows):
        for name, cell in row.items():
            if name not in builders:
                builders[name] = ColumnBuilder(name)
                builders[name].pad(count)
            builders[name].append(cell)
        if len(row) < len(builders):
            for builder in builders.values():
                builder.pad(count + 1)
    return builders


def lists_to_columns(document: Any, source: str) -> dict[str, ColumnBuilder]:
    """Return the cells of a mapping of column names to lists of one length.

    Raises:
        DataError: If it is no such mapping.
    """
    expected = f"{source}: expected a list of rows or a mapping of column names to lists of one length"
    if not isinstance(document, Mapping):
        raise DataError(f"{expected}, got {_kind(document)}")
    builders: dict[str, ColumnBuilder] = {}
    for name, given in document.items():
        cells = given.tolist() if hasattr(given, "tolist") else given  # NumPy arrays and pandas Series
        if not isinstance(cells, list | tuple):
            raise DataError(f"{expected}, got {_kind(cells)} for {name!r}")
        builders[str(name)] = ColumnBuilder(str(name))
        builders[str(name)].extend(cells)
    if len({len(builder) for builder in builders.values()}) > 1:
        lengths = ", ".join(f"{name!r} has {len(builder)}" for name, builder in builders.items())
        raise DataError(f"{expected}, but {lengths}")
    return builders


def mappings(rows: Iterable[Any], source: str) -> Iterator[dict[str, Any]]:
    """Yield the rows, each of which must be a mapping.

    Raises:
        DataError: If one is not.
    """
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{source}: expected a mapping of column names to cells, got {_kind(row)}", row=number)
        yield {str(name): cell for name, cell in row.items()}


def finish(builders: Mapping[str, ColumnBuilder], keep: Collection[str] | None, source: str) -> Columns:
    """Return the columns to keep as arrays.

    Raises:
        DataError: If one of them is not there.
    """
    require(builders, keep or (), source)
    return {name: builder.finish() for name, builder in builders.items() if keep is None or name in keep}


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Open a text file, gzipped or not, and explain what is wrong with its bytes.

    Raises:
        DataError: If it is not UTF-8, or no whole gzip file.
    """
    opener: Callable[..., Any] = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError:
        with opener(path, "rb") as file:
            raise DataError(f"{path.name}{_wrong_byte(file)}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is not a whole gzip file: {error}") from None


def _wrong_byte(file: IO[bytes]) -> str:
    """Return where the first byte stands that is not UTF-8, and how to convert the file."""
    if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
        return " is UTF-16; save it as UTF-8, for instance with: iconv -f UTF-16 -t UTF-8"
    file.seek(0)
    for number, line in enumerate(file, start=1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            place = f", line {number}, byte {error.start + 1}: 0x{line[error.start]:02x} is not UTF-8"
            return f"{place}; save the file as UTF-8, for instance with: iconv -f LATIN1 -t UTF-8"
    return " is not UTF-8"


def _read_separated(file: IO[str], delimiter: str, keep: Collection[str] | None, source: str) -> Columns:
    csv.field_size_limit(_LARGEST_CELL)
    records = _records(csv.reader(file, delimiter=delimiter, strict=True), source)
    header = next(records, (0, []))[1]
    if not header:
        raise DataError(f"{source} is empty")
    check_names(header, source)
    require(header, keep or (), source)
    builders = {index: ColumnBuilder(name) for index, name in enumerate(header) if keep is None or name in keep}
    while chunk := list(islice(records, CHUNK)):
        for line, cells in chunk:
            if len(cells) != len(header):
                counts = f"{len(cells)} cell{'s' * (len(cells) != 1)}, the header has {len(header)}"
                remedy = f"put cells that hold {delimiter!r} or a line break into double quotes"
                raise DataError(f"{source}, line {line}: {counts}; {remedy}")
        for index, builder in builders.items():
            builder.extend([cells[index] for _, cells in chunk])
    return {builder.name: builder.finish() for builder in builders.values()}


def _records(reader: Any, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not a blank line, with the line on which it starts."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedy = 'a double quote within a cell is doubled, and the cell quoted: "a ""quoted"" word"'
            raise DataError(f"{source}, line {line}: stray or unclosed double quote ({error}); {remedy}") from None
        if cells:
            yield line, cells


def _json_rows(lines: Iterable[str], source: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{source}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{place}, character {error.colno}: {_told(error)}") from None
        except RecursionError:
            raise DataError(f"{place}: nested too deeply") from None
        if not isinstance(row, dict):
            remedy = "a line is one row; a list of rows belongs into a .json file"
            raise DataError(f"{place}: expected a JSON object, got {_kind(row)}; {remedy}")
        if "\\ud" in line.lower():
            _check_surrogates(row, place)
        yield row


def _told(error: json.JSONDecodeError) -> str:
    return f"not valid JSON: {error.msg[0].lower()}{error.msg[1:]}"


def _check_surrogates(value: Any, place: str) -> None:
    """Refuse half a surrogate pair, which only a JSON escape can bring into a UTF-8 file."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: {broken_text(error.object[error.start : error.end])}") from None


def _kind(value: Any) -> str:
    """Return how a message names a value of the wrong type."""
    names = {dict: "a mapping", list: "a list", tuple: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else f"{value!r:.60}")
