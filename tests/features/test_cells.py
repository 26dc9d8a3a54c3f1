import numpy as np
import pandas as pd
import pytest

from declarlm.core import DataError
from declarlm.features.cells import as_numbers, as_texts, cell_text, form_of, in_form
from declarlm.features.lists import parts_of


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("1.0", "1.0"),
        (1, "1"),
        (1.0, "1"),
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (np.int64(7), "7"),
        (-0.0, "0"),
        (1e300, "1e+300"),
        (True, "True"),
        (["New", "York"], "New York"),
        (np.array(["New", "York"]), "New York"),
        ({"é": 1}, '{"é": 1}'),
        (pd.Timestamp("2024-05-06"), "2024-05-06 00:00:00"),
    ],
)
def test_a_cell_becomes_the_text_that_a_file_would_hold(cell, text):
    assert cell_text(cell) == text


def test_whole_numbers_are_the_same_label_in_every_kind_of_column():
    written = as_texts(pd.Series(["1", "2", None])).tolist()
    integers_with_a_gap = as_texts(pd.Series([1, 2, None])).tolist()
    nullable = as_texts(pd.Series([1, 2, None], dtype="Int64")).tolist()
    assert written == integers_with_a_gap == nullable == ["1", "2", None]


def test_numbers_are_read_from_texts_and_from_any_number_type():
    assert as_numbers(pd.Series([" 3 ", "-1e5", ".5"])).tolist() == [3, -1e5, 0.5]
    assert as_numbers(pd.Series([1, "2", np.float32(0.5)], dtype=object)).tolist() == [1, 2, 0.5]
    assert np.isnan(as_numbers(pd.Series([1, None], dtype="Int64"))[1])


@pytest.mark.parametrize("cell", ["n/a", "a,5", "nan", "inf", "0x10", "1_000"])
def test_a_text_that_is_no_number_is_named_with_its_row_and_remedy(cell):
    column = pd.Series(["1", cell], index=[16, 17], name="age")
    with pytest.raises(DataError) as raised:
        as_numbers(column)
    assert str(raised.value) == (
        f"column 'age', row 17: {cell!r} is not a number; "
        f'add "{cell}" to preprocessing.missing_values or clean the column'
    )


@pytest.mark.parametrize("cell", ["1,5", "-3,25 ", "1,234.5", "1.234,5"])
def test_a_comma_in_a_number_is_said_to_be_wrong(cell):
    with pytest.raises(DataError, match=r"is not a number; write a point before decimals and nothing between thous"):
        as_numbers(pd.Series(["1", cell], name="age"))


def test_a_whole_number_longer_than_any_float_is_named_with_its_row():
    with pytest.raises(DataError, match=r"column .x., row 1: 10{400} is not a number"):
        as_numbers(pd.Series([1, 10**400], name="x"))


@pytest.mark.parametrize("column", [pd.Series([True, False]), pd.Series([1, True], dtype=object)])
def test_true_is_no_number(column):
    with pytest.raises(DataError, match="True is not a number; use type: binary"):
        as_numbers(column)


@pytest.mark.parametrize(
    ("column", "form"),
    [
        (pd.Series(["1", "2"]), "text"),
        (pd.Series([1, 2]), "int"),
        (pd.Series([1, None]), "float"),
        (pd.Series([1, None], dtype="Int64"), "int"),
        (pd.Series([True, False]), "bool"),
        (pd.Series([True, None], dtype="boolean"), "bool"),
        (pd.Series([1, "1"], dtype=object), "text"),
    ],
)
def test_values_return_to_the_kind_that_the_column_held(column, form):
    assert form_of(column) == form
    values = [value for value in column if pd.notna(value)]
    if form != "text":
        assert [in_form(cell_text(value), form) for value in values] == values


@pytest.mark.parametrize(
    "value",
    [["a b", "it's", 'say "x"'], [{"role": "user", "content": 'it\'s\n"it"'}, {"role": "x"}], [], [[1, 2], [3, 4]]],
)
def test_a_list_is_read_from_what_pandas_writes_of_it(value):
    array = np.empty(len(value), dtype=object)
    array[:] = value
    assert parts_of(str(value)) == value
    assert parts_of(f" {np.array(value, dtype=object)}\n") == value


def test_numbers_are_read_from_what_pandas_writes_of_an_array():
    assert parts_of(str(np.array([1.5, -2.0, 3e-5, 4]))) == [1.5, -2.0, 3e-5, 4.0]
    assert parts_of(str(np.arange(-3, 200))) == list(range(-3, 200))


@pytest.mark.parametrize(
    "text", ["[sic] he said", "['a'", "[1] and [2]", "[" * 5000 + "]" * 5000, "[nan]", "['a'].x", "[print(1)]", "[-]"]
)
def test_a_text_that_is_no_list_stays_a_text(text):
    assert parts_of(text) is None


def test_a_list_that_was_shortened_in_print_is_none():
    assert parts_of(str(np.arange(2000))) is None
