"""Tables to files, in the format that the name asks for; ``read_table`` reads all of them."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from declarlm.core import DataError
from declarlm.core.errors import DiskError, choose_from
from declarlm.core.files import atomic_file, finite
from declarlm.data.tables import local_files

if TYPE_CHECKING:
    import pandas as pd


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table without its index, whole or not at all.

    Raises:
        DataError: If the name has no ending that is known.
        DiskError: If the file cannot be written.
    """
    write = WRITERS[output_format(path)]
    with atomic_file(path) as temporary:
        if path.name.lower().endswith(".gz"):
            # Without a name and a time in it, the same table gives the same bytes.
            with temporary.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                write(table, cast(IO[bytes], packed))
        else:
            with temporary.open("wb") as file:
                write(table, file)


def output_format(path: Path) -> str:
    """Return the key of ``WRITERS`` for a file name.

    Raises:
        DataError: If there is none, or the path is a folder.
    """
    name = path.name.lower()
    plain = name.removesuffix(".gz")
    ending = next((ending for ending in WRITERS if plain.endswith(ending)), "")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it, for instance {path / 'predictions.csv'}")
    if not ending or (name != plain and ending not in TEXT):
        given = "".join(path.suffixes[-2:] if name != plain else path.suffixes[-1:])
        options = [*WRITERS, *(f"{ending}.gz" for ending in TEXT)]
        found = f"no table format is named {choose_from(given, options)}"
        raise DataError(f"{path}: {found if given else 'give the file an ending: ' + ', '.join(sorted(options))}")
    return ending


def check_target(path: Path, dataset: Any = None) -> None:
    """Refuse a file that cannot be written, or that ``dataset`` is read from, before the work whose result it gets.

    Raises:
        DataError: If the name has no ending that is known, the path is a folder, or the rows would be lost.
        DiskError: If the file cannot be made.
    """
    output_format(path)
    read = local_files(str(dataset)) if isinstance(dataset, str | Path) else []
    if path.exists() and any(source.samefile(path) for source in read):
        raise DataError(f"{path} holds the rows that are read, which would be lost; name another file")
    folder = next(folder for folder in path.absolute().parents if folder.exists())  # what is missing is made
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".tmp"):
            pass
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {folder}: {error.strerror}") from None


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as data that JSON can hold; a missing cell is null."""
    columns = {str(name): [_plain(cell) for cell in table[name]] for name in table.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write_csv(table: pd.DataFrame, file: IO[str], delimiter: str = ",") -> None:
    """Write CSV; lists and mappings in cells are written as JSON."""
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(map(str, table.columns))
    for row in records(table):
        writer.writerow(
            json.dumps(cell, ensure_ascii=False) if isinstance(cell, list | dict) else cell for cell in row.values()
        )


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it."""
    import pandas as pd

    if hasattr(cell, "tolist"):
        cell = cell.tolist()  # a NumPy scalar or array
    if isinstance(cell, list | tuple | dict):
        return finite(cell)
    if pd.isna(cell):
        return None
    return finite(cell) if isinstance(cell, bool | int | float | str) else str(cell)


def _separated(delimiter: str) -> Callable[[pd.DataFrame, IO[bytes]], None]:
    def write(table: pd.DataFrame, file: IO[bytes]) -> None:
        import io

        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        write_csv(table, text, delimiter)
        text.detach()

    return write


def _json_lines(table: pd.DataFrame, file: IO[bytes]) -> None:
    file.writelines(_lines(json.dumps(row, ensure_ascii=False) for row in records(table)))


def _json(table: pd.DataFrame, file: IO[bytes]) -> None:
    file.writelines(_lines([json.dumps(records(table), ensure_ascii=False, indent=2)]))


def _lines(texts: Iterable[str]) -> Iterable[bytes]:
    return (f"{text}\n".encode() for text in texts)


def _parquet(table: pd.DataFrame, file: IO[bytes]) -> None:
    table.to_parquet(file, index=False)


def _arrow(table: pd.DataFrame, file: IO[bytes]) -> None:
    table.reset_index(drop=True).to_feather(file)


def _excel(table: pd.DataFrame, file: IO[bytes]) -> None:
    try:
        import openpyxl
    except ImportError:
        raise DataError('writing Excel needs openpyxl: pip install "declarlm[excel]"') from None
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    sheet.append([str(name) for name in table.columns])
    for row in records(table):
        sheet.append([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in row.values()])
    book.save(file)


TEXT = (".csv", ".tsv", ".jsonl", ".json")
WRITERS: dict[str, Callable[[pd.DataFrame, IO[bytes]], None]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".feather": _arrow,
    ".arrow": _arrow,
    ".xlsx": _excel,
}
