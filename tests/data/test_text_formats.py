"""CSV, TSV, JSON, JSON lines and plain text: cells as written, and errors with their line."""

import csv
import gzip

import pandas as pd
import pytest

from declarlm.core import DataError
from declarlm.data.tables import read_table


@pytest.fixture
def written(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def error_of(path, **options):
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    return str(caught.value)


def test_csv_cells_stay_as_they_are_written(written):
    cells = ["NA", "null", "None", "nan", "00123", "1e5", "1.0", " x ", "True", "2026-01-01", "-", "a;b"]
    table = read_table(written("t.csv", "cell,n\n" + "".join(f"{cell},1\n" for cell in cells)))
    assert table["cell"].tolist() == cells
    assert table["n"].tolist() == ["1"] * len(cells)


def test_quoted_cells_hold_commas_quotes_and_line_breaks(written):
    table = read_table(written("t.csv", 'a,b\r\n"x, ""y""\r\nz",1\r\n'))
    assert table["a"].tolist() == ['x, "y"\r\nz']


def test_a_byte_order_mark_is_no_part_of_the_first_name(written):
    assert list(read_table(written("t.csv", b"\xef\xbb\xbfa,b\n1,2\n")).columns) == ["a", "b"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_the_header_tells_the_delimiter(written, mark):
    table = read_table(written("t.csv", f'"a, b"{mark}c\n1,5{mark}2\n'))
    assert table.to_dict("list") == {"a, b": ["1,5"], "c": ["2"]}


def test_a_single_column_needs_no_delimiter(written):
    assert read_table(written("t.csv", "text\nhello; you\n\nbye|\n"))["text"].tolist() == ["hello; you", "bye|"]


def test_very_long_cells_are_read(written):
    assert len(read_table(written("t.csv", f"a,b\n{'x' * 500_000},1\n"))["a"][0]) == 500_000


def test_a_ragged_line_is_named(written):
    content = 'a,b,c\n1,2,3\n"4\n4",5,6\n7,8\n'
    assert error_of(written("t.csv", content)) == (
        "t.csv, line 5: 2 cells, the header has 3; put cells that hold ',' or a line break into double quotes"
    )
    assert error_of(written("t.csv", "a\n1,2\n")) == (
        "t.csv, line 2: 2 cells, the header has 1; put cells that hold ',' or a line break into double quotes"
    )
    # pandas takes the first column for an index here, and shifts the others.
    one_row = written("t.csv", "a,b\n1,2,3\n")
    assert pd.read_csv(one_row)["a"].tolist() == [2]
    assert error_of(one_row).startswith("t.csv, line 2: 3 cells, the header has 2")


@pytest.mark.parametrize("content", ['a,b\n"x"y,1\n', 'a,b\n"x,1\n2,3\n'])
def test_a_stray_quote_is_named(written, content):
    message = error_of(written("t.csv", content))
    assert message.startswith("t.csv, line 2: stray or unclosed double quote (")
    assert message.endswith('; a double quote within a cell is doubled, and the cell quoted: "a ""quoted"" word"')


def test_two_columns_of_one_name_are_refused(written):
    assert error_of(written("t.csv", "a,b,a\n1,2,3\n")) == "t.csv: two columns are named 'a'; rename one of them"


def test_empty_files_are_refused(written):
    for name in ("t.csv", "t.tsv", "t.json"):
        assert error_of(written(name, "")) == f"{name} is empty"
    header_only = written("t.csv", "a,b\n")
    assert error_of(header_only) == f"{header_only} has no rows"
    lines = written("t.jsonl", "\n")
    assert error_of(lines) == f"{lines} has no rows"
    text = written("t.txt", "")
    assert error_of(text) == f"{text} has no rows"


def test_a_byte_that_is_not_utf8_is_named_with_its_line(written):
    remedy = "save the file as UTF-8, for instance with: iconv -f LATIN1 -t UTF-8"
    assert error_of(written("t.csv", "a,b\n1,2\nx,caf\xe9\n".encode("latin-1"))) == (
        f"t.csv, line 3, byte 6: 0xe9 is not UTF-8; {remedy}"
    )
    assert error_of(written("t.jsonl", b'{"a": "\xed\xa0\xbd"}\n')) == (  # CESU: half a pair, written as bytes
        f"t.jsonl, line 1, byte 8: 0xed is not UTF-8; {remedy}"
    )
    assert error_of(written("t.csv", "a,b\n1,2\n".encode("utf-16"))) == (
        "t.csv is UTF-16; save it as UTF-8, for instance with: iconv -f UTF-16 -t UTF-8"
    )


def test_gzipped_files_are_read_and_damaged_ones_refused(written):
    packed = gzip.compress(b"a,b\n1,2\n" * 1000)
    assert read_table(written("t.csv.gz", gzip.compress(b"a,b\n1,2\n")))["b"].tolist() == ["2"]
    assert read_table(written("t.jsonl.gz", gzip.compress(b'{"a": 1}\n')))["a"].tolist() == [1]
    assert error_of(written("t.csv.gz", packed[:-20])) == (
        "t.csv.gz is not a whole gzip file: Compressed file ended before the end-of-stream marker was reached"
    )
    assert error_of(written("t.csv.gz", b"a,b\n")).startswith("t.csv.gz is not a whole gzip file: Not a gzipped file")


def test_tsv_is_split_at_tabs_whatever_its_header_holds(written):
    assert read_table(written("t.tsv", "a, b\tc\n1,5\t2\n")).to_dict("list") == {"a, b": ["1,5"], "c": ["2"]}


def test_json_lines_keep_types(written):
    content = '{"id": "0012", "n": 12, "x": 1.0, "day": "2026-01-01", "turns": [{"role": "user"}]}\n\n{"id": "7"}\n'
    table = read_table(written("t.jsonl", content))
    assert table["id"].tolist() == ["0012", "7"]
    assert table["n"].tolist() == [12, None]
    assert table["day"][0] == "2026-01-01"
    assert table["turns"].tolist() == [[{"role": "user"}], None]


def test_a_broken_json_line_is_named(written):
    assert error_of(written("t.jsonl", '{"a": 1}\n{"a": 2}\n{"a": 3 "b": 4}\n{"a": 4}\n')) == (
        "t.jsonl, line 3, character 9: not valid JSON: expecting ',' delimiter"
    )
    assert error_of(written("t.jsonl", '{"a": 1}\n[1]\n')) == (
        "t.jsonl, line 2: expected a JSON object, got a list; "
        "a line is one row; a list of rows belongs into a .json file"
    )
    assert error_of(written("t.jsonl", "[" * 100_000 + "\n")) == "t.jsonl, line 1: nested too deeply"


def test_half_a_surrogate_pair_is_refused_however_deep(written):
    assert error_of(written("t.jsonl", '{"a": "x"}\n{"a": [{"b": "cut \\uD83D"}]}\n')).startswith(
        "t.jsonl, line 2: '\\ud83d' holds half of a surrogate pair, often a cut emoji; clean it with "
    )
    assert read_table(written("t.jsonl", '{"a": "\\ud83d\\ude00"}\n'))["a"][0] == "\U0001f600"


def test_json_is_a_list_of_rows_or_lists_by_column(written):
    expected = {"a": ["x", "y"], "n": [1, 2]}
    for content in (
        '[{"a": "x", "n": 1}, {"a": "y", "n": 2}]',
        '{"a": ["x", "y"], "n": [1, 2]}',
        '{"a": "x", "n": 1}\n{"a": "y", "n": 2}\n',
    ):
        assert read_table(written("t.json", content)).to_dict("list") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"a": 1},\n {"a": }]', "t.json, line 2, character 8: not valid JSON: expecting value"),
        (
            '{"a": {"0": 1}}',
            "t.json: expected a list of rows or a mapping of column names to lists of one length, "
            "got a mapping for 'a'",
        ),
        ("3", "t.json: expected a list of rows or a mapping of column names to lists of one length, got 3"),
        ("[1, 2]", "row 0: t.json: expected a mapping of column names to cells, got 1"),
        ("[" * 100_000, "t.json: nested too deeply"),
    ],
)
def test_json_that_is_no_table_is_refused(written, content, message):
    assert error_of(written("t.json", content)) == message


def test_text_is_a_row_per_line(written):
    table = read_table(written("t.txt", "one\r\n\ntwo, three\n"), missing_values=[])
    assert table["text"].tolist() == ["one", "", "two, three"]


def test_unwanted_columns_are_not_built(written):
    assert read_table(written("t.csv", "a,b\n1,2\n"), columns=["b"]).to_dict("list") == {"b": ["2"]}
    assert error_of(written("t.csv", "a,b\n1,2\n"), columns=["c"]) == (
        "t.csv: no column is named 'c', choose from: a, b"
    )


def test_chunks_are_seams_nobody_sees(written):
    rows = [[f"text {index}", str(index)] for index in range(40_000)]
    path = written("t.csv", "")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["a", "n"], *rows])
    table = read_table(path)
    assert table["a"].tolist() == [row[0] for row in rows]
    late = [{"a": "x"}] * 20_000 + [{"a": 5, "b": "new"}]
    assert read_table(late)["a"].tolist()[-2:] == ["x", 5]
    assert read_table(late)["b"].isna().sum() == 20_000


def test_real_tables_equal_what_pandas_reads_as_text(shared):
    for path in sorted((shared / "data").glob("*/*.csv")):
        expected = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
        pd.testing.assert_frame_equal(read_table(path, missing_values=[]), expected)
