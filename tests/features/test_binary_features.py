import numpy as np
import pandas as pd
import pytest

from declarlm.core import ConfigError, DataError
from declarlm.features import Raw, input_features, output_features


def binary_input(**preprocessing):
    return input_features["binary"].Config.load({"name": "paid", "preprocessing": preprocessing}).build()


def binary_output(decoder=None, threshold=0.5, **preprocessing):
    config = {"name": "spam", "preprocessing": preprocessing, "decoder": decoder, "threshold": threshold}
    return output_features["binary"].Config.load(config).build()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["yes", "no", "Yes"], [1, 0, 1]),
        (["1", "0", "0"], [1, 0, 0]),
        ([1, 0, 1], [1, 0, 1]),
        ([1.0, 0.0, None], [1, 0, 0]),
        ([True, False, True], [1, 0, 1]),
        (["ham", "spam", "ham"], [0, 1, 0]),
        (["TRUE", "no", "1"], [1, 0, 1]),
    ],
)
def test_what_counts_as_true(values, expected):
    column = pd.Series(values)
    transformed = binary_input().fit(column).transform(column)
    assert transformed.dtype == np.float32
    assert transformed[:, 0].tolist() == expected


def test_the_true_label_can_be_chosen():
    column = pd.Series(["ham", "spam"])
    assert binary_output().fit(column).labels == ["ham", "spam"]
    assert binary_output(fallback_true_label="ham").fit(column).labels == ["spam", "ham"]


def test_a_true_label_that_is_not_there_is_an_error():
    with pytest.raises(DataError) as raised:
        binary_output(fallback_true_label="eggs").fit(pd.Series(["ham", "spam"]))
    assert str(raised.value) == (
        'column \'spam\': has no value "eggs" (preprocessing.fallback_true_label); it holds "ham" and "spam"'
    )


def test_three_values_are_a_category():
    with pytest.raises(DataError) as raised:
        binary_input().fit(pd.Series(["a", "b", "c"]))
    assert str(raised.value) == (
        'column \'paid\': has 3 values ("a", "b", "c"); a binary column has two: write type: category'
    )


def test_a_third_value_after_training_is_named():
    feature = binary_input().fit(pd.Series(["ham", "spam"]))
    with pytest.raises(DataError) as raised:
        feature.transform(pd.Series(["ham", "eggs"]))
    assert str(raised.value) == (
        "column 'paid', row 1: 'eggs' is neither \"ham\" nor \"spam\"; "
        "a column of more than two values is of type category"
    )


def test_one_label_is_not_enough():
    with pytest.raises(DataError) as raised:
        binary_output().fit(pd.Series(["yes", "Yes"], name="spam"))
    assert str(raised.value) == "column 'spam': has only one label, 'Yes' in 2 training rows; two are needed"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("fill_with_false", 0), ("fill_with_true", 1), ("fill_with_mode", 1), ("ffill", 1), ("bfill", 0)],
)
def test_missing_cells_are_filled_as_the_strategy_says(strategy, expected):
    feature = binary_input(missing_value_strategy=strategy).fit(pd.Series(["yes", "yes", "no"]))
    assert feature.transform(pd.Series(["yes", None, "no"]))[1, 0] == expected


def test_predictions_are_the_labels_of_the_column():
    for values in (["ham", "spam"], [False, True], [0, 1], [0.0, 1.0]):
        feature = binary_output().fit(pd.Series(values))
        columns = feature.columns(feature.raw(np.array([[-2.0], [2.0]])))
        assert columns["spam_predictions"] == values
        assert [type(value) for value in columns["spam_predictions"]] == [type(values[0])] * 2
        high = 1 / (1 + np.exp(-2))
        np.testing.assert_allclose(columns["spam_probability"], [high, high])
        np.testing.assert_allclose(columns["spam_probabilities"], [[high, 1 - high], [1 - high, high]])
        assert list(columns)[-1] == f"spam_probabilities_{feature.labels[1]}"


def test_the_threshold_decides():
    feature = binary_output(threshold=0.2).fit(pd.Series(["no", "yes"]))
    columns = feature.columns(Raw(probabilities=np.array([[0.75, 0.25], [0.9, 0.1]])))
    assert columns["spam_predictions"] == ["yes", "no"]
    assert columns["spam_probability"] == [0.25, 0.9]


def test_extreme_scores_do_not_overflow():
    feature = binary_output().fit(pd.Series(["no", "yes"]))
    assert feature.raw(np.array([[-1e4], [1e4]])).probabilities[:, 1].tolist() == [0, 1]


def test_clip_is_refused_for_a_probability():
    with pytest.raises(ConfigError) as raised:
        binary_output({"type": "regressor", "clip": [0, 1]})
    assert "decoder.clip: is for number outputs; a probability is always between 0 and 1" in str(raised.value)


def test_a_model_that_was_never_trained_takes_its_labels_from_the_rules():
    match = {"good": {"type": "contains", "value": "positive"}, "bad": {"type": "contains", "value": "negative"}}
    feature = binary_output({"type": "category_extractor", "match": match}, fallback_true_label="good").without_rows()
    assert feature.labels == ["bad", "good"]
    assert feature.label_answers == ["negative", "positive"]
    assert feature.columns(Raw(texts=["It is negative"]))["spam_predictions"] == ["bad"]


def test_a_state_survives_saving():
    feature = binary_output().fit(pd.Series([True, False, True]))
    assert binary_output().restore(feature.state.dump()).state == feature.state
