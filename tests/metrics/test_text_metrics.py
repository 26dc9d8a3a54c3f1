"""Metrics of text, against values by hand and a table of every pair of words."""

import json
import random
import string
from collections import Counter

import numpy as np
import pandas as pd
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


@pytest.mark.parametrize(
    ("truth", "value", "expected"),
    [("The North Sea!", "north  sea", 1), ("an apple", "the apple", 1), ("North Sea", "the sea", 0), ("a", "", 1)],
)
def test_a_normalized_match_is_that_of_question_answering(truth, value, expected):
    assert score("normalized_exact_match", truth, value) == expected


def test_the_text_for_no_answer_is_right_as_a_whole_or_not_at_all():
    none = "cannot find answer"
    truth, values = [none, "the answer", none, none], [f"{none}.", none, "the answer", ""]
    found = evaluate("text", truth, Prediction(values, no_answer=none), ["token_f1", "normalized_exact_match"])
    assert found == {"token_f1": 0.25, "normalized_exact_match": 0.25}
    assert evaluate("text", truth, Prediction(values), ["token_f1"])["token_f1"] == (1 + 0.5 + 0.5 + 0) / 4


def test_the_best_of_several_right_texts_counts():
    truth, names = [["North Sea", "the North Sea in the Netherlands"], ["a"]], ["exact_match", "token_f1"]
    found = evaluate("text", truth, Prediction(["North Sea in the Netherlands", "b"]), names)
    assert found == {"exact_match": 0.0, "token_f1": 0.5}


def test_scores_are_those_of_the_published_evaluation(shared):
    """Beside the arithmetic of SQuAD v2's own script, on its questions and made-up answers."""
    table = pd.read_csv(shared / "data/squad_v2_subset/test.csv")
    right = [json.loads(cell) for cell in table["all_answers"]]
    given = [(texts[-1].upper() if texts else "") if row % 3 else "in Denmark" for row, texts in enumerate(right)]

    def words(text):
        kept = "".join(character for character in text.lower() if character not in string.punctuation)
        return [word for word in kept.split() if word not in ("a", "an", "the")]

    def f1(gold, value):
        gold, value = words(gold), words(value)
        if not gold or not value:
            return float(gold == value)
        shared_words = sum((Counter(gold) & Counter(value)).values())
        precision, recall = shared_words / len(value), shared_words / len(gold)
        return 2 * precision * recall / (precision + recall) if shared_words else 0.0

    golds = [texts or [""] for texts in right]
    exact = [max(float(words(one) == words(value)) for one in texts) for texts, value in zip(golds, given, strict=True)]
    best = [max(f1(one, value) for one in texts) for texts, value in zip(golds, given, strict=True)]
    none = "cannot find answer"
    prediction = Prediction([value or none for value in given], no_answer=none)
    names = ["normalized_exact_match", "token_f1"]
    found = evaluate("text", [texts or [none] for texts in right], prediction, names)
    assert found == pytest.approx(dict(zip(names, (np.mean(exact), np.mean(best)), strict=True)))
