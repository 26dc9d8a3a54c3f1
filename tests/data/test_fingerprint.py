"""What identifies a table and a file."""

import datetime
import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from declarlm.data.fingerprint import file_fingerprint, fingerprint
from declarlm.data.tables import read_table


def test_the_source_of_the_same_cells_does_not_matter(shared, tmp_path):
    path = shared / "data" / "sms_spam" / "test.csv"
    table = read_table(path)
    expected = fingerprint(table)
    table.to_parquet(tmp_path / "t.parquet")
    assert fingerprint(read_table(tmp_path / "t.parquet")) == expected
    assert fingerprint(read_table(pd.read_csv(path, dtype=str, keep_default_na=False))) == expected
    assert fingerprint(pd.concat([table.iloc[:100], table.iloc[100:]])) == expected
    assert fingerprint(table.set_index(table.index + 5)) == expected
    assert fingerprint(table.iloc[1:].reset_index(drop=True)) == fingerprint(table.iloc[1:]) != expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": ["x", "y"]}, {"b": ["x", "y"]}),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}),
        ({"a": ["xy", ""]}, {"a": ["x", "y"]}),
        ({"a": ["", "y"]}, {"a": [None, "y"]}),
        ({"a": ["1", "2"]}, {"a": [1, 2]}),
        ({"a": [1, 2]}, {"a": [1.0, 2.0]}),
        ({"a": [True, False]}, {"a": [1, 0]}),
        ({"a": [["x", "y"], ["z"]]}, {"a": [["x"], ["y", "z"]]}),
        ({"a": [1, None]}, {"a": [1, 2]}),
        ({"a": [{"b": 1}, 2]}, {"a": [{"b": True}, 2]}),
        ({"a": ["x"], "b": ["y"]}, {"a": ["y"], "b": ["x"]}),
    ],
)
def test_another_cell_gives_another_hash(one, other):
    read = [read_table(data, missing_values=[]) for data in (one, other)]
    assert fingerprint(read[0]) != fingerprint(read[1])
    assert fingerprint(read[0]) == fingerprint(read_table(one, missing_values=[]))


def test_cells_of_every_type_have_a_hash():
    days = pd.to_datetime(["2026-01-01", None])
    table = pd.DataFrame({"day": days, "nullable": pd.array([1, None], dtype="Int64")})
    table["objects"] = [np.arange(3), datetime.date(2026, 1, 1)]
    table["arrow"] = pd.Series([[1], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64())))
    assert fingerprint(table) == fingerprint(table.copy())
    longer = [np.arange(5000), np.arange(5000)]
    longer[1][2500] = 0
    assert fingerprint(pd.DataFrame({"a": [longer[0]]})) != fingerprint(pd.DataFrame({"a": [longer[1]]}))


def test_a_file_is_its_size_and_its_hash(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n1\n")
    assert file_fingerprint(path) == {
        "path": str(path),
        "size": 4,
        "sha256": hashlib.sha256(b"a\n1\n").hexdigest(),
    }
