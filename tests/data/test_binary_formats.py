"""Parquet, Arrow, Feather and Excel."""

import datetime

import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet

from declarlm.core import DataError
from declarlm.data.tables import read_table

COLUMNS = {"id": [1, None, 3], "name": ["00123", None, ""], "turns": [[{"role": "user"}], None, []]}


def error_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    return str(caught.value)


def write_parquet(table, path):
    parquet.write_table(table, path)


def write_file(table, path):
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def write_stream(table, path):
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.parquet", write_parquet),
        ("t.arrow", write_file),
        ("t.arrow", write_stream),
        ("t.feather", feather.write_feather),
    ],
)
def test_columnar_files_keep_every_cell(tmp_path, name, write):
    write(pa.table(COLUMNS), tmp_path / name)
    table = read_table(tmp_path / name, missing_values=[])
    assert table["id"].tolist() == [1, None, 3]
    assert table["name"].tolist()[::2] == ["00123", ""]
    assert table["name"].isna().tolist() == [False, True, False]
    assert table["turns"].tolist() == [[{"role": "user"}], None, []]
    assert list(read_table(tmp_path / name, columns=["id"]).columns) == ["id"]
    assert error_of(tmp_path / name, columns=["nmae"]) == (
        f"{name}: no column is named 'nmae' (did you mean 'name'?), choose from: id, name, turns"
    )


def test_the_index_that_pandas_hides_in_parquet_is_left_out(tmp_path):
    pd.DataFrame({"a": ["x", "y"]}, index=[7, 3]).to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert list(table.columns) == ["a"]
    assert table.index.tolist() == [0, 1]


def test_damaged_files_are_refused(tmp_path):
    for name, kind in (("t.parquet", "Parquet"), ("t.arrow", "Arrow"), ("t.feather", "Arrow"), ("t.xlsx", "Excel")):
        for content in (b"", b"not what the name says"):
            (tmp_path / name).write_bytes(content)
            assert error_of(tmp_path / name).startswith(f"{name} is not a readable {kind} file: ")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xe9")]
    )
    parquet.write_table(pa.table({"a": broken}), tmp_path / "t.parquet")
    assert "Invalid UTF8" in error_of(tmp_path / "t.parquet")


def workbook(path, *rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def test_excel_cells_keep_their_types(tmp_path):
    day = datetime.datetime(2026, 1, 31)
    path = workbook(tmp_path / "t.xlsx", ["id", "n", "day"], ["00123", 12, day], [], ["NA", None, day])
    table = read_table(path)
    assert table["id"].tolist() == ["00123", "NA"]
    assert table["n"].tolist() == [12, None]
    assert table["day"].tolist() == [day, day]


def test_a_wrong_sheet_is_refused(tmp_path):
    path = workbook(tmp_path / "t.xlsx", ["a", "b"], [1, 2], [1, 2, 3])
    assert error_of(path) == "t.xlsx, line 3: 3 cells, the header has 2"
    assert error_of(workbook(tmp_path / "t.xlsx", ["a", "a"])) == (
        "t.xlsx: two columns are named 'a'; rename one of them"
    )
    assert error_of(workbook(tmp_path / "t.xlsx")) == "t.xlsx is empty"
    only_header = workbook(tmp_path / "t.xlsx", ["a", "b"])
    assert error_of(only_header) == f"{only_header} has no rows"
