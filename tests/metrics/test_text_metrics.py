"""Metrics of text, against values by hand and a table of every pair of words."""

import random

import pytest

from declarlm.metrics import Prediction, evaluate
from declarlm.metrics.text import _longest_common_subsequence


def score(name, truth, value):
    return evaluate("text", [truth], Prediction([value]), [name])[name]


def test_the_default_metrics_of_text_are_means_over_rows():
    truth = ["The cat sat.", "no"]
    found = evaluate("text", truth, Prediction([" The cat sat.\n", "yes"]))
    assert found == {"exact_match": 0.5, "token_f1": 0.5, "rouge_l": 0.5}


@pytest.mark.parametrize(
    ("truth", "value", "expected"),
    [
        ("The Eiffel Tower", "eiffel tower!", 1),
        ("Paris, France", "in Paris", 0.5),  # 1 word of 2 in each
        ("a b b c", "b b b", 2 * 2 / (3 + 3)),  # the article a is dropped; b counts twice
        ("the", "", 1),
        ("", "word", 0),
        ("x", "y", 0),
    ],
)
def test_token_f1_counts_shared_words(truth, value, expected):
    assert score("token_f1", truth, value) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("truth", "value", "expected"),
    [
        # Lin 2004, section 3.1: "police killed the gunman" against two candidates, LCS 3 and 2 of 4 and 4 words.
        ("police killed the gunman", "police kill the gunman", 3 / 4),
        ("police killed the gunman", "the gunman kill police", 2 / 4),
        ("a b c d e", "a x c", 2 * 2 / (5 + 3)),
        ("Größe: 5", "größe 5", 1),
        ("", "...", 1),
        ("word", "", 0),
    ],
)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(truth, value, expected):
    assert score("rouge_l", truth, value) == pytest.approx(expected)


def lcs_by_table(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            longer = max(table[row][column + 1], table[row + 1][column])
            table[row + 1][column + 1] = table[row][column] + 1 if one == other else longer
    return table[-1][-1]


def test_the_longest_common_subsequence_is_the_one_of_the_textbook():
    generator = random.Random(0)
    for _ in range(300):
        first, second = (generator.choices("abcdefg", k=generator.randrange(1, 90)) for _ in range(2))
        assert _longest_common_subsequence(first, second) == lcs_by_table(first, second)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": 1}', 1),
        (" [1, 2]\n", 1),
        ("{}", 1),
        ('{"a": 1} and more', 0),
        ("{'a': 1}", 0),
        ('{"a": NaN}', 0),
        ("5", 0),
        ("", 0),
        ("[" * 100_000, 0),
        ('{"a": ' + "9" * 5000 + "}", 0),
    ],
)
def test_valid_json_is_one_object_or_array(text, valid):
    assert score("json_valid", "", text) == valid


@pytest.mark.parametrize(
    ("truth", "value", "same"),
    [
        ('{"a": 1, "b": [1, 2]}', '{ "b": [1.0, 2], "a": 1 }', 1),
        ('{"a": 1}', '{"a": true}', 0),
        ('{"a": "1"}', '{"a": 1}', 0),
        ("[1, 2]", "[2, 1]", 0),
        ("[12345678901234567890]", "[12345678901234567891]", 0),
        ('{"a": "é"}', '{"a": "\\u00e9"}', 1),
        ("not json", "not json", 0),
    ],
)
def test_json_matches_by_value(truth, value, same):
    assert score("json_exact_match", truth, value) == same


def test_real_references_match_themselves(shared):
    from declarlm.data.tables import read_table

    table = read_table(shared / "data" / "e2e_extraction" / "test.csv")
    found = evaluate(
        "text", table["json"], Prediction(table["json"].tolist()), ["json_valid", "json_exact_match", "rouge_l"]
    )
    assert found == {"json_valid": 1, "json_exact_match": 1, "rouge_l": 1}
    assert 0 < evaluate("text", table["text"], Prediction(table["mr"].tolist()))["rouge_l"] < 1
