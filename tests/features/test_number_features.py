from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from declarlm.core import DataError
from declarlm.features import Raw, input_features, output_features

COLUMN = pd.Series(["1", "2", "3", "10"], name="age")


def number_input(**preprocessing):
    return input_features["number"].Config.load({"name": "age", "preprocessing": preprocessing}).build()


def number_output(decoder=None, **preprocessing):
    config = {"name": "age", "preprocessing": preprocessing, "decoder": decoder}
    return output_features["number"].Config.load(config).build()


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("zscore", (np.array([1, 2, 3, 10]) - 4) / np.std([1, 2, 3, 10])),
        ("minmax", [0, 1 / 9, 2 / 9, 1]),
        ("log1p", np.log([2, 3, 4, 11])),
        ("iq", (np.array([1, 2, 3, 10]) - 2.5) / (4.75 - 1.75)),
        (None, [1, 2, 3, 10]),
    ],
)
def test_numbers_are_scaled_and_predictions_scaled_back(normalization, expected):
    scaled = number_input(normalization=normalization).fit(COLUMN).transform(COLUMN)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0], expected, rtol=1e-6)
    output = number_output(normalization=normalization).fit(COLUMN)
    np.testing.assert_allclose(output.targets(COLUMN), expected, rtol=1e-6)
    back = output.columns(output.raw(output.targets(COLUMN)[:, None]))
    np.testing.assert_allclose(back["age_predictions"], [1, 2, 3, 10], rtol=1e-5)


def test_a_constant_column_becomes_zero():
    for normalization in ("zscore", "minmax", "iq"):
        column = pd.Series([5, 5])
        assert number_input(normalization=normalization).fit(column).transform(column).tolist() == [[0], [0]]


def test_the_logarithm_needs_numbers_above_minus_one():
    with pytest.raises(DataError) as raised:
        number_input(normalization="log1p").fit(pd.Series([0, -2], name="age"))
    assert str(raised.value) == (
        "column 'age', row 1: -2 has no log1p, which needs numbers above -1; "
        "choose another preprocessing.normalization: zscore, minmax, iq"
    )


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"missing_value_strategy": "fill_with_mean"}, 4),
        ({"missing_value_strategy": "fill_with_const", "fill_value": -7}, -7),
        ({"missing_value_strategy": "fill_with_mode"}, 1),
        ({"missing_value_strategy": "ffill"}, 1),
        ({"missing_value_strategy": "bfill"}, 3),
    ],
)
def test_missing_cells_are_filled_as_the_strategy_says(strategy, expected):
    feature = number_input(normalization=None, **strategy).fit(COLUMN)
    assert feature.transform(pd.Series(["1", None, "3"]))[1, 0] == expected


def test_a_column_without_a_number_is_an_error():
    with pytest.raises(DataError, match=r"^column 'age': has no number in any training row$"):
        number_input().fit(pd.Series([None, None], dtype=object))


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("clip", 4 + np.std([1, 2, 3, 10])), ("fill_with_mean", 4), ("fill_with_const", 0)],
)
def test_numbers_far_from_the_mean_are_dealt_with(strategy, expected):
    feature = number_input(normalization=None, outlier_strategy=strategy, outlier_threshold=1.0).fit(COLUMN)
    assert feature.transform(COLUMN)[:3, 0].tolist() == [1, 2, 3]
    assert feature.transform(COLUMN)[3, 0] == pytest.approx(expected)


def test_predictions_are_clipped_by_either_decoder():
    for decoder in ("regressor", "number_extractor"):
        feature = number_output({"type": decoder, "clip": [0, 5]}).fit(COLUMN)
        assert feature.columns(Raw(values=np.array([-3.0, 2, 9])))["age_predictions"] == [0, 2, 5]


def test_answers_are_written_as_the_table_writes_them():
    assert number_output().fit(COLUMN).answers(pd.Series(["3.50", "-007"])) == ["3.50", "-007"]
    assert number_output().fit(COLUMN).answers(pd.Series([3.0, 0.25])) == ["3", "0.25"]


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("1e3", "1000"),
        (".5", "0.5"),
        ("+3", "3"),
        (" 4", "4"),
        ("5.", "5"),
        (1e-05, "0.00001"),
        (1.5e20, "150000000000000000000"),
        (Fraction(1, 4), "0.25"),
    ],
)
def test_answers_have_no_form_that_cannot_be_generated(cell, answer):
    assert number_output().fit(COLUMN).answers(pd.Series([cell])) == [answer]


def test_an_answer_without_a_number_carries_the_reason():
    columns = number_output().fit(COLUMN).columns(Raw(texts=["about 42", "no idea"]))
    assert columns["age_predictions"][0] == 42
    assert np.isnan(columns["age_predictions"][1])
    assert columns["age_error"] == [None, 'no number in the answer "no idea"']


def test_a_state_survives_saving():
    feature = number_input().fit(COLUMN)
    assert number_input().restore(feature.state.dump()).state == feature.state
