"""What read_table makes of DataFrames, dicts, lists, Arrow tables, paths and globs."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from declarlm.core import DataError
from declarlm.data.tables import read_table, require_columns


def error_of(dataset, **options):
    with pytest.raises(DataError) as caught:
        read_table(dataset, **options)
    return str(caught.value)


@pytest.mark.parametrize("index", [["b", "a", "a"], pd.MultiIndex.from_tuples([(1, "x"), (1, "x"), (2, "y")])])
def test_a_dataframe_keeps_its_index(index):
    given = pd.DataFrame({"a": ["x", None, ""], "n": [1.5, np.nan, 2.0]}, index=index)
    table = read_table(given)
    assert table.index.equals(given.index)
    assert table["a"].isna().tolist() == [False, True, True]
    assert table["n"].tolist()[0] == 1.5
    assert given["a"].tolist()[2] == ""  # The user's own table is left alone.


def test_text_of_every_kind_gets_one_dtype():
    kinds = {
        "object": pd.Series(["a", None], dtype=object),
        "python": pd.Series(["a", None], dtype=pd.StringDtype("python")),
        "arrow": pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())),
        "category": pd.Series(["a", None], dtype="category"),
    }
    for table in (read_table(pd.DataFrame(kinds)), read_table(pd.concat([pd.DataFrame(kinds)] * 2)).head(2)):
        assert {str(dtype) for dtype in table.dtypes} == {"str"}
        assert all(table[name].isna().tolist() == [False, True] for name in kinds)


def test_cells_that_are_not_text_stay_what_they_are():
    given = pd.DataFrame({"n": [1, 2], "flag": [True, False], "day": pd.to_datetime(["2026-01-01", "2026-01-02"])})
    given["words"] = [["a", "b"], ["c", "d"]]
    table = read_table(given)
    assert [dtype.kind for dtype in table.dtypes] == ["i", "b", "M", "O"]
    assert table["words"].tolist() == [["a", "b"], ["c", "d"]]


def test_labels_with_a_gap_stay_whole_numbers():
    table = read_table({"label": [1, 0, None], "big": [2**60 + 1, None, 3]})
    assert table["label"].tolist() == [1, 0, None]
    assert table["big"].tolist() == [2**60 + 1, None, 3]


def test_a_list_of_dicts_may_leave_keys_out():
    table = read_table([{"a": "x"}, {"b": 2}, {"a": "y", "b": 3}])
    assert table["a"].isna().tolist() == [False, True, False]
    assert table["b"].tolist() == [None, 2, 3]
    assert table.index.tolist() == [0, 1, 2]


def test_vectors_and_mixed_cells_survive():
    table = read_table({"vector": np.ones((2, 3)), "mixed": ["1", 1], "pair": [[1, 2], [3, 4]]})
    assert table["vector"].tolist() == [[1.0] * 3] * 2
    assert table["mixed"].tolist() == ["1", 1]
    assert table["pair"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("make", [pa.table, pa.record_batch])
def test_arrow_tables_lose_nothing(make):
    columns = {
        "id": pa.array([2**60 + 1, None]),
        "name": pa.array(["00123", None]),
        "tag": pa.array(["x", "x"]).dictionary_encode(),
        "turns": pa.array([[{"role": "user"}], []]),
        "flag": pa.array([True, None]),
        "void": pa.nulls(2),
    }
    table = read_table(make(columns))
    assert table["id"].tolist() == [2**60 + 1, None]
    assert table["name"][0] == "00123"
    assert table["tag"].tolist() == ["x", "x"]
    assert table["turns"].tolist() == [[{"role": "user"}], []]
    assert table["flag"].tolist() == [True, None]
    assert table["void"].isna().all()


def test_only_declared_cells_are_missing():
    table = read_table({"t": ["NA", "null", "None", "nan", "", "n/a"]}, missing_values=["n/a"])
    assert table["t"].tolist()[:5] == ["NA", "null", "None", "nan", ""]
    assert table["t"].isna().tolist() == [False] * 5 + [True]


def test_missing_values_are_found_in_number_columns_too():
    given = pd.DataFrame({"age": [31, -999], "weight": [-999.0, 60.5], "mixed": [-999, "x"]})
    table = read_table(given, missing_values=["-999"])
    assert table["age"].tolist() == [31, None]
    assert table["weight"].isna().tolist() == [True, False]
    assert table["mixed"].isna().tolist() == [True, False]


def test_columns_are_chosen_before_anything_else():
    table = read_table({"a": [1], "b": [2]}, columns=["b"])
    assert list(table.columns) == ["b"]
    assert error_of({"age": [1], "name": [2]}, columns=["nmae", "size"]) == (
        "the table: no column is named 'nmae' (did you mean 'name'?), choose from: age, name; "
        "no column is named 'size', choose from: age, name"
    )


def test_a_missing_column_is_named_with_its_file_and_the_nearest_one(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("utterance\nhello\n")
    table = read_table(path)
    with pytest.raises(DataError) as caught:
        require_columns(table.iloc[:1], ["utterence"])
    assert str(caught.value) == (
        f"{path}: no column is named 'utterence' (did you mean 'utterance'?), choose from: utterance"
    )


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({}, "the table has no rows"),
        ([], "the table has no rows"),
        ({"a": []}, "the table has no rows"),
        (pd.DataFrame({"a": []}), "the table has no rows"),
        (
            {"a": [1, 2], "b": [1]},
            "the table: expected a list of rows or a mapping of column names to lists of one length, "
            "but 'a' has 2, 'b' has 1",
        ),
        (
            {"a": "x"},
            "the table: expected a list of rows or a mapping of column names to lists of one length, "
            "got a text for 'a'",
        ),
        ([{"a": 1}, ["x"]], "row 1: the table: expected a mapping of column names to cells, got a list"),
        (
            3,
            "a dataset is a DataFrame, a dict of lists, a list of dicts, an Arrow table, a path, a glob or hf://, "
            "got int",
        ),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            "the table: two columns are named 'a'; rename one of them",
        ),
        (
            pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
            "the table has columns of several levels; give each column one name",
        ),
    ],
)
def test_what_is_no_table_is_refused(dataset, message):
    assert error_of(dataset) == message


def test_half_a_surrogate_pair_is_refused_with_its_row():
    remedy = (
        "'ok \\ud83d' holds half of a surrogate pair, often a cut emoji; "
        "clean it with text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
    )
    assert error_of({"t": ["a", "ok \ud83d"]}) == f"column 't', row 1: {remedy}"
    given = pd.DataFrame({"t": pd.Series(["a", "ok \ud83d"], dtype=object, index=["first", "second"])})
    assert error_of(given) == f"column 't', row second: {remedy}"


def test_numbered_columns_get_names():
    assert list(read_table(pd.DataFrame([[1, 2]])).columns) == ["0", "1"]


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path):
    (tmp_path / "train.csv").write_text("a\n1\n")
    assert error_of(tmp_path / "trian.csv") == (
        f"there is no file {tmp_path / 'trian.csv'} (did you mean {tmp_path / 'train.csv'}?)"
    )
    assert error_of(tmp_path / "no" / "x.csv") == f"there is no file {tmp_path}/no/x.csv: no folder {tmp_path}/no"
    assert error_of(tmp_path) == f"{tmp_path} is a folder; name its files, for instance {tmp_path}/*.csv"


def test_an_unknown_format_is_refused_with_the_list(tmp_path):
    path = tmp_path / "data.cvs"
    path.write_text("a\n1\n")
    assert error_of(path) == (
        "data.cvs: no table format is named '.cvs' (did you mean '.csv'?), choose from: .arrow, .csv, .csv.gz, "
        ".feather, .json, .json.gz, .jsonl, .jsonl.gz, .parquet, .tsv, .tsv.gz, .txt, .txt.gz, .xlsx"
    )


def test_a_glob_reads_its_files_in_order_of_name(tmp_path):
    (tmp_path / "b.csv").write_text("y,x\n4,3\n")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "._a.csv").write_text("what some systems leave beside a file")
    table = read_table(tmp_path / "*.csv")
    assert table["x"].tolist() == ["1", "3"]
    assert table["y"].tolist() == ["2", "4"]
    assert table.index.tolist() == [0, 1]
    assert error_of(tmp_path / "*.tsv") == f"no file matches {tmp_path}/*.tsv"


def test_a_glob_whose_files_differ_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x,z\n1,2\n")
    assert error_of(tmp_path / "*.csv") == (f"{tmp_path}/b.csv has the columns x, z, but {tmp_path}/a.csv has x, y")


def test_a_glob_converts_no_cell_when_types_differ(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "00123"}\n')
    assert read_table(str(tmp_path / "?.jsonl"))["id"].tolist() == [1, "00123"]


def test_every_shared_table_is_read_whole(shared):
    lines = {path: path.read_text().count("\n") for path in (shared / "data").glob("*/*.jsonl")}
    assert lines
    for path, count in lines.items():
        table = read_table(path, missing_values=[])
        assert len(table) == count
        last = json.loads(path.read_text().splitlines()[-1])
        assert {name: cell for name, cell in table.iloc[-1].items() if cell is not None} == last
    assert len(read_table(shared / "data" / "banking77" / "train.csv")) == 10003
    assert len(read_table(shared / "data" / "corpora" / "tinyshakespeare.txt")) == 40000
    adult = read_table(shared / "data" / "adult" / "*.csv", missing_values=["", "?"])
    assert len(adult) == 16281 + 8141
    assert (
        adult["workclass"].isna().sum() == (read_table(shared / "data" / "adult" / "*.csv")["workclass"] == "?").sum()
    )
