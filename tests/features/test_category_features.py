import numpy as np
import pandas as pd
import pytest

from declarlm.core import DataError
from declarlm.features import Raw, input_features, output_features


def category_input(**preprocessing):
    return input_features["category"].Config.load({"name": "city", "preprocessing": preprocessing}).build()


def category_output(decoder=None, loss=None, **preprocessing):
    config = {"name": "intent", "preprocessing": preprocessing, "decoder": decoder, "loss": loss}
    return output_features["category"].Config.load(config).build()


def test_ids_follow_frequency_then_name_and_unknown_is_zero():
    feature = category_input().fit(pd.Series(["Rome", "Oslo", "Rome", "Bern", None]))
    assert feature.state.vocabulary == ["<UNK>", "Rome", "Bern", "Oslo"]
    assert feature.transform(pd.Series(["Oslo", "Lima", None, "Rome"])).tolist() == [3, 0, 0, 1]


def test_rare_values_are_unknown():
    feature = category_input(most_common=1).fit(pd.Series(["a", "b", "a"]))
    assert feature.transform(pd.Series(["a", "b"])).tolist() == [1, 0]


def test_lowercase_makes_spellings_one_value():
    feature = category_input(lowercase=True).fit(pd.Series(["Rome", "ROME"]))
    assert feature.state.vocabulary == ["<UNK>", "rome"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"missing_value_strategy": "fill_with_mode"}, [1, 1, 2]),
        ({"missing_value_strategy": "fill_with_const", "fill_value": "b"}, [1, 2, 2]),
        ({"missing_value_strategy": "bfill"}, [1, 2, 2]),
        ({"missing_value_strategy": "ffill"}, [1, 1, 2]),
    ],
)
def test_missing_cells_are_filled_as_the_strategy_says(strategy, expected):
    feature = category_input(**strategy).fit(pd.Series(["a", "a", "a", "b", "b"]))
    assert feature.transform(pd.Series(["a", None, "b"])).tolist() == expected


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        ({}, ["Rome", "", "Oslo"]),
        ({"lowercase": True}, ["rome", "", "oslo"]),
        ({"fill_value": "none"}, ["Rome", "none", "Oslo"]),
        ({"missing_value_strategy": "ffill"}, ["Rome", "Rome", "Oslo"]),
        ({"missing_value_strategy": "fill_with_mode"}, ["Rome", "Lima", "Oslo"]),
        ({"missing_value_strategy": "drop_row"}, ["Rome", "", "Oslo"]),
    ],
)
def test_a_prompt_has_the_cells_as_the_config_says(preprocessing, expected):
    column = pd.Series(["Rome", None, "Oslo"])
    feature = category_input(**preprocessing)
    assert feature.fit(pd.Series(["Lima", "Lima", "Oslo"])).render(column) == expected
    if preprocessing.get("missing_value_strategy") == "fill_with_mode":
        with pytest.raises(DataError, match=r"^column 'city': fill_with_mode needs training rows; write fill_with"):
            category_input(**preprocessing).without_rows()
    else:
        assert category_input(**preprocessing).without_rows().render(column) == expected


def test_labels_stand_by_frequency_then_name():
    feature = category_output().fit(pd.Series(["b", "c", "a", "c"]))
    assert feature.labels == ["c", "a", "b"]
    assert feature.state.counts == [2, 1, 1]
    assert feature.targets(pd.Series(["a", "c"])).tolist() == [1, 0]


def test_a_missing_label_is_an_error_with_its_row_and_remedy():
    column = pd.Series(["a", "b", None], index=["x", "y", "z"], name="intent")
    feature = category_output().fit(column)
    with pytest.raises(DataError) as raised:
        feature.targets(column)
    assert str(raised.value) == (
        "column 'intent', row z: is missing; write preprocessing.missing_value_strategy: drop_row "
        "to leave such rows out"
    )


def test_rows_without_a_label_can_be_left_out():
    column = pd.Series(["a", "b", None])
    feature = category_output(missing_value_strategy="drop_row").fit(column)
    assert feature.keep(column).tolist() == [True, True, False]
    assert feature.targets(column[feature.keep(column)]).tolist() == [0, 1]


def test_one_label_is_not_enough():
    with pytest.raises(DataError) as raised:
        category_output().fit(pd.Series(["a", "a"], name="intent"))
    assert str(raised.value) == "column 'intent': has only one label, 'a' in 2 training rows; two are needed"


def test_too_many_labels_need_a_fallback():
    column = pd.Series(["a", "a", "b", "b", "c"])
    with pytest.raises(DataError) as raised:
        category_output(most_common=2).fit(column)
    assert str(raised.value) == (
        "column 'intent': has 3 different labels, more than preprocessing.most_common (2); "
        "raise it, or write preprocessing.fallback_label for the rare ones"
    )
    feature = category_output(most_common=2, fallback_label="other").fit(column)
    assert feature.labels == ["a", "b", "other"]
    assert feature.state.counts == [2, 2, 1]
    assert feature.targets(pd.Series(["c", "unseen", "a"])).tolist() == [2, 2, 0]


def test_a_label_unseen_in_training_has_no_target_but_stays_in_the_truth():
    feature = category_output().fit(pd.Series(["a", "b"]))
    assert feature.targets(pd.Series(["c", "a"])).tolist() == [-1, 0]
    assert feature.truth(pd.Series(["c", "a"])) == ["c", "a"]


def test_prediction_columns_are_those_of_ludwig():
    feature = category_output().fit(pd.Series(["b", "a", "b"]))
    columns = feature.columns(feature.raw(np.array([[0.0, 0.0], [-1.0, 1.0]])))
    assert columns["intent_predictions"] == ["b", "a"]
    high = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(columns["intent_probability"], [0.5, high])
    np.testing.assert_allclose(columns["intent_probabilities"], [[0.5, 0.5], [1 - high, high]])
    np.testing.assert_allclose(columns["intent_probabilities_a"], [0.5, high])
    assert list(columns)[-2:] == ["intent_probabilities_b", "intent_probabilities_a"]


def test_predictions_are_of_the_kind_that_the_column_holds():
    for column in (pd.Series([1, 2, 2]), pd.Series([0.5, 2.0, 2.0]), pd.Series(["1", "2", "2"])):
        feature = category_output().fit(column)
        raw = feature.raw(np.array([[1.0, 0.0]]))
        assert feature.columns(raw)["intent_predictions"] == [column.iloc[2]]
        assert type(feature.columns(raw)["intent_predictions"][0]) is type(column.tolist()[2])


def test_generated_answers_without_a_label_carry_the_reason_or_fall_back():
    match = {"yes": {"type": "regex", "value": r"\byes\b"}, "no": {"type": "regex", "value": r"\bno\b"}}
    decoder = {"type": "category_extractor", "match": match}
    rows = pd.Series(["yes", "no"])
    answers = Raw(texts=["Yes!", "maybe"])
    columns = category_output(decoder).fit(rows).columns(answers)
    assert columns == {
        "intent_predictions": ["yes", None],
        "intent_error": [None, 'no label in the answer "maybe"'],
    }
    columns = category_output(decoder, fallback_label="no").fit(rows).columns(answers)
    assert columns == {"intent_predictions": ["yes", "no"]}


def test_an_untrained_model_takes_its_labels_from_the_config():
    assert category_output(labels=["x", "y"]).without_rows().labels == ["x", "y"]
    match = {"x": {"type": "contains", "value": "exit"}, "y": {"type": "contains", "value": "yell"}}
    feature = category_output({"type": "category_extractor", "match": match}).without_rows()
    assert feature.labels == ["x", "y"]
    assert feature.label_answers == ["exit", "yell"]
    assert feature.answers(pd.Series(["y", "x"])) == ["yell", "exit"]
    with pytest.raises(DataError, match=r"write preprocessing.labels or decoder.match, or train on a table"):
        category_output().without_rows()


def test_a_state_survives_saving():
    feature = category_output(fallback_label="other").fit(pd.Series([1, 2, 2]))
    restored = category_output(fallback_label="other").restore(feature.state.dump())
    assert restored.state == feature.state
