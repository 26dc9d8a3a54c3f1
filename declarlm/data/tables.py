"""Tables from anywhere: files, globs, the Hugging Face Hub, DataFrames, dicts, lists, Arrow.

Cells stay as they are: what a CSV file holds is text, until a feature reads it as something else. Rows of
files are numbered from 0, as pandas does, and errors about a row name its index label; errors of the file
itself name the line, from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.core.errors import choose_from
from declarlm.data import binary_files, text_files
from declarlm.data.columns import blank, check_names, objects, require, tidy
from declarlm.data.text_files import Columns

if TYPE_CHECKING:
    import pandas as pd

READERS: dict[str, Callable[[Path, Collection[str] | None], Columns]] = {
    ".csv": text_files.read_csv,
    ".tsv": text_files.read_tsv,
    ".jsonl": text_files.read_json_lines,
    ".json": text_files.read_json,
    ".txt": text_files.read_lines,
    ".parquet": binary_files.read_parquet,
    ".feather": binary_files.read_arrow,
    ".arrow": binary_files.read_arrow,
    ".xlsx": binary_files.read_excel,
}
_GZIPPED = tuple(f"{extension}.gz" for extension in (".csv", ".tsv", ".jsonl", ".json", ".txt"))
_HUB = re.compile(r"hf://(?:datasets/)?(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<files>.+))?")


def read_table(
    dataset: Any, *, columns: Collection[str] | None = None, missing_values: Collection[str] = ("",)
) -> pd.DataFrame:
    """Return a dataset as a DataFrame, its cells unchanged.

    Args:
        dataset: DataFrame, or one column of it, dict of lists, iterable of dicts, Arrow table (or anything that gives
            one, such as a Polars DataFrame), path, glob, or ``hf://datasets/OWNER/NAME/FILES``, where FILES may be one.
        columns: Columns to read, None for all.
        missing_values: Cells to take as missing, as they are written. No other text is ever missing.

    Returns:
        A new DataFrame. Text columns have the dtype that pandas 3 calls ``str``; missing cells are what ``isna``
        says. A DataFrame keeps its index, everything else gets 0, 1, 2 and so on.

    Raises:
        DataError: If there is no such file, it cannot be read, it has no rows, two columns of one name or
            cells without a column, or a column of ``columns`` is not there.
    """
    import pandas as pd

    dataset = dataset.to_frame() if isinstance(dataset, pd.Series) else dataset
    index = dataset.index if isinstance(dataset, pd.DataFrame) else None
    if isinstance(dataset, str | Path):
        source = str(dataset)
        arrays = _read_files(_files(source), columns)
    else:
        source = "the table"
        arrays = _read_memory(dataset, columns, source)
    num_rows = len(next(iter(arrays.values()), ()))
    if not num_rows:
        raise DataError(f"{source} has no rows")
    if missing_values:
        arrays = {name: blank(cells, missing_values) for name, cells in arrays.items()}
    table = pd.DataFrame(arrays, index=pd.RangeIndex(num_rows) if index is None else index, copy=False)
    table.attrs["source"] = source  # what errors about its columns call it
    return table


def require_columns(table: pd.DataFrame, names: Iterable[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataError: With every missing name and the nearest one that is there.
    """
    require(list(table.columns), names, table.attrs.get("source", "the table"))


def _read_memory(dataset: Any, keep: Collection[str] | None, source: str) -> Columns:
    import pandas as pd

    if isinstance(dataset, pd.DataFrame):
        names = [str(name) for name in dataset.columns]
        if dataset.columns.nlevels > 1:
            raise DataError(f"{source} has columns of several levels; give each column one name")
        check_names(names, source)
        require(names, keep or (), source)
        wanted = [position for position, name in enumerate(names) if keep is None or name in keep]
        return {names[position]: tidy(dataset.iloc[:, position]) for position in wanted}
    if isinstance(dataset, Mapping):
        return text_files.finish(text_files.lists_to_columns(dataset, source), keep, source)
    if hasattr(dataset, "__arrow_c_stream__") or hasattr(dataset, "__arrow_c_array__"):
        import pyarrow as pa

        return binary_files.arrow_columns(pa.table(dataset), keep, source)
    if isinstance(dataset, Iterable):
        rows = text_files.mappings(dataset, source)
        return text_files.finish(text_files.rows_to_columns(rows), keep, source)
    expected = "a DataFrame, a dict of lists, a list of dicts, an Arrow table, a path, a glob or hf://"
    raise DataError(f"a dataset is {expected}, got {type(dataset).__name__}")


def _read_files(paths: list[Path], keep: Collection[str] | None) -> Columns:
    """Read files one below the other; all must have the columns of the first, in any order."""
    parts: list[Columns] = []
    for path in paths:
        try:
            part = READERS[_format(path)](path, keep)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        if parts and part.keys() != parts[0].keys():
            given, expected = ", ".join(part), ", ".join(parts[0])
            raise DataError(f"{path} has the columns {given}, but {paths[0]} has {expected}")
        parts.append(part)
    return parts[0] if len(parts) == 1 else {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(arrays: list[Any]) -> Any:
    """Return arrays as one; where their types differ, as objects, so that no cell is converted."""
    import pandas as pd

    if len({str(array.dtype) for array in arrays}) > 1:
        return objects([cell for array in arrays for cell in array.tolist()])
    return pd.concat([pd.Series(array, copy=False) for array in arrays], ignore_index=True).array


def _format(path: Path) -> str:
    """Return the key of ``READERS`` for a file name.

    Raises:
        DataError: If there is none.
    """
    name = path.name.lower()
    for extension in (*READERS, *_GZIPPED):
        if name.endswith(extension):
            return extension.removesuffix(".gz")
    extension = "".join(path.suffixes[-2:] if name.endswith(".gz") else path.suffixes[-1:])
    raise DataError(f"{path.name}: no table format is named {choose_from(extension, (*READERS, *_GZIPPED))}")


def _files(source: str) -> list[Path]:
    """Return the files behind a path, a glob or an ``hf://`` address.

    Raises:
        DataError: If there are none.
    """
    if source.startswith("hf://"):
        return _hub_files(source)
    path = Path(source).expanduser()
    if found := local_files(source):
        return found
    if path.is_dir():
        raise DataError(f"{source} is a folder; name its files, for instance {path / '*.csv'}")
    if _is_glob(source):
        raise DataError(f"no file matches {source}")
    if not path.parent.is_dir():
        raise DataError(f"there is no file {source}: no folder {path.parent}")
    close = get_close_matches(path.name, [file.name for file in path.parent.iterdir()], n=1)
    hint = f" (did you mean {path.parent / close[0]}?)" if close else ""
    raise DataError(f"there is no file {source}{hint}")


def local_files(source: str) -> list[Path]:
    """Return the files of this machine that a path or a glob names, none if there are none."""
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir() or not _is_glob(source):
        return []
    matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    return sorted(match for match in matches if match.is_file() and not match.name.startswith("."))


def _is_glob(source: str) -> bool:
    return bool(set("*?[") & set(source))


def _hub_files(address: str) -> list[Path]:
    """Download files of a dataset of the Hugging Face Hub, unless they are in its cache.

    Raises:
        DataError: If the address is incomplete, nothing matches, or the Hub does not answer.
    """
    match = _HUB.fullmatch(address)
    files = match["files"] if match else None
    if match is None or files is None or ".." in files.split("/"):
        example = "hf://datasets/OWNER/NAME/data/train-*.parquet"
        raise DataError(f"{address}: name the files of the dataset, for instance {example}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = snapshot_download(match["name"], repo_type="dataset", revision=match["revision"], allow_patterns=files)
    except (OSError, HFValidationError) as error:
        raise DataError(f"{address}: {str(error).strip().splitlines()[0]}") from None
    found = sorted(file for file in Path(folder).glob(files) if file.is_file())
    if not found:
        raise DataError(f"{address}: no file of the dataset matches {files}")
    return found
