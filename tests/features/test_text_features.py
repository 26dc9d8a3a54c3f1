import pandas as pd
import pytest

from declarlm.config import load_config
from declarlm.core import ConfigError, DataError
from declarlm.features import Raw, input_features, output_features


def text_input(encoder=None, **preprocessing):
    config = {"name": "message", "encoder": encoder, "preprocessing": preprocessing}
    return input_features["text"].Config.load(config).build()


def text_output(decoder=None, **preprocessing):
    config = {"name": "answer", "decoder": decoder, "preprocessing": preprocessing}
    return output_features["text"].Config.load(config).build()


def test_texts_stay_as_written_and_missing_ones_are_empty():
    column = pd.Series([" NA ", None, "{{7*7}}", 5])
    feature = text_input().fit(column)
    assert feature.transform(column) == feature.render(column) == [" NA ", "", "{{7*7}}", "5"]


def test_texts_can_be_lower_case_and_missing_ones_filled():
    column = pd.Series(["Ab", None])
    feature = text_input(lowercase=True, fill_value="none").fit(column)
    assert feature.transform(column) == ["ab", "none"]


def test_an_input_row_can_be_left_out():
    column = pd.Series(["a", None], name="message")
    feature = text_input(missing_value_strategy="drop_row").fit(column)
    assert feature.keep(column).tolist() == [True, False]
    with pytest.raises(DataError, match=r"^column 'message', row 1: is missing$"):
        feature.transform(column)


def test_the_length_of_a_column_limits_its_encoder():
    encoder = text_input("embed", max_sequence_length=7).make_encoder()
    assert encoder.config.max_sequence_length == 7
    for own in (5, 9):
        encoder = text_input({"type": "embed", "max_sequence_length": own}, max_sequence_length=7).make_encoder()
        assert encoder.config.max_sequence_length == min(own, 7)


@pytest.mark.parametrize(
    ("encoder", "expected"), [("tf_idf", ["Good, bad", "One"]), ("embed", ["Good, bad, ugly", "One"])]
)
def test_words_are_counted_where_the_encoder_has_no_length(encoder, expected):
    column = pd.Series(["Good, bad, ugly", "One"])
    feature = text_input(encoder, max_sequence_length=3).fit(column)
    assert feature.transform(column) == expected
    assert feature.render(column) == column.tolist()


def test_a_missing_answer_is_an_error_with_its_row_and_remedy():
    column = pd.Series(["a", None])
    with pytest.raises(DataError) as raised:
        text_output().fit(column).answers(column)
    assert str(raised.value) == (
        "column 'answer', row 1: is missing; write preprocessing.missing_value_strategy: drop_row "
        "to leave such rows out"
    )


def test_predictions_are_the_answers_read_and_raw():
    decoder = {"type": "text_extractor", "pattern": "Answer: (.*)"}
    columns = text_output(decoder).without_rows().columns(Raw(texts=["I think. Answer: 4 ", " 5"]))
    assert columns == {"answer_predictions": ["4", "5"], "answer_response": ["I think. Answer: 4 ", " 5"]}


def test_a_head_is_refused_for_text():
    with pytest.raises(ConfigError, match="decoder 'classifier' does not fit here"):
        text_output("classifier")


def test_a_metric_of_another_type_is_refused_with_what_fits():
    with pytest.raises(ConfigError, match=r"metrics\[0\]: no text metric is named 'roc_auc'"):
        output_features["text"].Config.load({"name": "x", "metrics": ["roc_auc"]})


def test_an_encoder_parses_no_special_tokens():
    features = {"input_features": [{"name": "text", "type": "text", "preprocessing": {"parse_special_tokens": True}}]}
    with pytest.raises(ConfigError) as raised:
        load_config({**features, "output_features": [{"name": "kind", "type": "category"}]})
    assert [str(problem.path) for problem in raised.value.problems] == [
        "input_features[0].preprocessing.parse_special_tokens"
    ]
    assert "has no effect on model_type 'ecd'; leave it out" in raised.value.problems[0].message


def test_vectors_that_training_changes_cannot_be_kept():
    with pytest.raises(ConfigError, match=r"cache_encoder_embeddings: vectors that training changes cannot be kept"):
        text_input("tf_idf", cache_encoder_embeddings=True)
    text_input("bert", cache_encoder_embeddings=True)


def test_of_several_right_answers_the_first_is_learned_and_all_are_true():
    output = text_output(alternatives=True, missing_value_strategy="fill_with_const", fill_value="cannot find answer")
    column = pd.Series([["France", "in France"], '["10th", "10th century"]', "[]", [], None, "Rollo"], name="a")
    output.fit(column)
    none = "cannot find answer"
    assert output.answers(column) == ["France", "10th", none, none, none, "Rollo"]
    assert output.truth(column) == [
        ["France", "in France"],
        ["10th", "10th century"],
        [none],
        [none],
        [none],
        ["Rollo"],
    ]
    found = output.metric_prediction(Raw(texts=["in France"]))
    assert found.no_answer == none
    assert text_output().fit(column[5:]).metric_prediction(Raw(texts=["x"])).no_answer is None


def test_an_empty_list_of_answers_is_a_missing_cell():
    column = pd.Series(["[]", '["yes"]'], name="a")
    assert text_output(alternatives=True, missing_value_strategy="drop_row").keep(column).tolist() == [False, True]
    output = text_output(alternatives=True)
    with pytest.raises(DataError, match="column 'answer', row 0: is missing"):
        output.fit(column).answers(column)


def test_an_answer_that_is_missing_is_filled_without_training_rows():
    output = text_output(missing_value_strategy="fill_with_const", fill_value="none").without_rows()
    assert output.truth(pd.Series(["yes", None], name="answer")) == ["yes", "none"]
