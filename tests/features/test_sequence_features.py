import numpy as np
import pandas as pd
import pytest

from declarlm.core import DataError
from declarlm.features import Raw, input_features, output_features

TAGS = pd.Series([["B-LOC", "O"], ["O"], ["B-LOC", "I-LOC", "B-PER"]], index=["x", "y", "z"], name="tags")


def tags_output(**config):
    return output_features["sequence"].Config.load({"name": "tags", **config}).build()


def text_input(**preprocessing):
    return input_features["text"].Config.load({"name": "text", "preprocessing": preprocessing}).build()


def test_tags_stand_by_frequency_then_name():
    feature = tags_output().fit(TAGS)
    assert feature.labels == ["B-LOC", "O", "B-PER", "I-LOC"]
    assert feature.state.counts == [2, 2, 1, 1]
    assert [row.tolist() for row in feature.targets(TAGS)] == [[0, 1], [1], [0, 3, 2]]


def test_lists_json_and_white_space_are_read_alike():
    feature = tags_output().fit(TAGS)
    written = pd.Series(['["B-LOC", "O"]', " O ", "B-LOC  I-LOC\tB-PER"])
    assert feature.truth(written) == TAGS.tolist()
    assert feature.truth(pd.Series([np.array(["B-LOC", "O"])])) == [["B-LOC", "O"]]


def test_a_tag_unseen_in_training_has_no_target_but_stays_in_the_truth():
    feature = tags_output().fit(TAGS)
    assert feature.targets(pd.Series(["B-ORG O"])).values.tolist() == [-1, 1]
    assert feature.truth(pd.Series(["B-ORG O"])) == [["B-ORG", "O"]]


def test_a_list_of_something_else_is_named():
    with pytest.raises(DataError) as raised:
        tags_output().fit(pd.Series([["O", None]], index=["x"], name="tags"))
    assert str(raised.value) == "column 'tags', row x: the list ['O', None] holds None; it must hold texts or numbers"


def test_one_tag_is_not_enough():
    with pytest.raises(DataError) as raised:
        tags_output().fit(pd.Series([["O", "O"], ["O"]], name="tags"))
    assert str(raised.value) == "column 'tags': has only one tag, 'O', in 2 training rows; two are needed"


def shares(feature, tags):
    return np.array([[float(label == tag) for label in feature.labels] for tag in tags])


@pytest.mark.parametrize(
    ("repair", "expected"),
    [(True, ["B-LOC", "I-LOC", "O", "B-LOC", "I-LOC"]), (False, ["I-LOC", "I-LOC", "O", "I-LOC", "I-LOC"])],
)
def test_an_inside_tag_that_continues_nothing_begins_an_entity(repair, expected):
    feature = tags_output(decoder={"type": "tagger", "repair": repair}).fit(TAGS)
    raw = Raw(words=[shares(feature, ["I-LOC", "I-LOC", "O", "I-LOC", "I-LOC"])])
    assert feature.columns(raw)["tags_predictions"] == [expected]


def test_an_inside_tag_after_another_kind_begins_an_entity():
    feature = tags_output().fit(pd.Series([["B-LOC", "I-LOC", "B-PER", "I-PER", "O"]]))
    raw = Raw(words=[shares(feature, ["B-LOC", "I-PER", "I-PER"])])
    assert feature.columns(raw)["tags_predictions"] == [["B-LOC", "B-PER", "I-PER"]]


@pytest.mark.parametrize("tags", [["I-LOC", "O"], ["B", "I", "O"], ["NOUN", "VERB"], ["B-LOC", "E-LOC", "I-LOC", "O"]])
def test_tags_of_another_scheme_stay_as_they_are(tags):
    feature = tags_output().fit(pd.Series([tags]))
    assert not feature.is_iob2
    assert feature.columns(Raw(words=[shares(feature, tags[::-1])]))["tags_predictions"] == [tags[::-1]]


def test_a_word_that_was_not_read_is_tagged_outside_and_has_no_probability():
    feature = tags_output().fit(TAGS)
    raw = feature.raw([np.array([[5.0, 0, 0, 0], [np.nan] * 4]), np.zeros((0, 4))])
    columns = feature.columns(raw)
    assert columns["tags_predictions"] == [["B-LOC", "O"], []]
    assert columns["tags_probabilities"][0][0] == pytest.approx(np.exp(5) / (np.exp(5) + 3))
    assert (columns["tags_probabilities"][0][1], columns["tags_probabilities"][1]) == (None, [])


def words_of(feature, cells):
    column = pd.Series(cells)
    feature.fit(column)
    texts = feature.transform(column)
    return [[text[start:end] for start, end in row] for text, row in zip(texts, feature.words(column), strict=True)]


def test_words_are_elements_of_a_list_or_stand_between_white_space():
    cells = ["a  bad\tfilm ", ["New York", "is", "big"], None, "", ["one"]]
    assert words_of(text_input(), cells) == [["a", "bad", "film"], ["New York", "is", "big"], [], [], ["one"]]
    # The lower case of the capital with a dot is two characters.
    assert words_of(text_input(lowercase=True), [["\u0130zmir", "IS"], "A B"]) == [["i\u0307zmir", "is"], ["a", "b"]]
    assert words_of(text_input(fill_value="no text"), [None]) == [["no", "text"]]


def test_a_list_of_something_else_than_words_is_named():
    feature = text_input().fit(pd.Series([["a", 1]], name="text"))
    with pytest.raises(DataError) as raised:
        feature.words(pd.Series([["a", 1]], name="text"))
    assert str(raised.value) == "column 'text', row 0: the list ['a', 1] must hold words only"


def test_words_of_a_list_that_became_text_are_refused_with_what_to_do():
    feature = text_input().fit(pd.Series(["a"]))
    for cell in ("['show', 'me']", '["show", "me"]', "['show' 'me']"):
        with pytest.raises(DataError) as raised:
            feature.words(pd.Series(["a b", cell], name="text"))
        assert "column 'text', row 1: " in str(raised.value)
        assert "is a list that became text; write words between spaces, or use a JSONL or Parquet" in str(raised.value)
    assert feature.words(pd.Series(["[1] is here", "[ a ]"], name="text")) == [
        [(0, 3), (4, 6), (7, 11)],
        [(0, 1), (2, 3), (4, 5)],
    ]
