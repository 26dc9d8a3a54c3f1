"""Metrics of tags, against a slow formula that tries every stretch of words."""

import itertools
import math
import random

import pytest

from declarlm.metrics import Prediction, evaluate
from declarlm.metrics.sequence import marked

TAGS = ["O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y", "E-y", "S-y"]


def parts(tag):
    return (tag[0], tag[2:]) if tag != "O" else ("O", "")


def begins(tags, place):
    """Whether an entity begins at a word, by the word before it alone."""
    mark, kind = parts(tags[place])
    before, kind_before = parts(tags[place - 1]) if place else ("O", "")
    return mark in "BS" or (mark in "IE" and (before in "OES" or kind_before != kind))


def slow(tags):
    """Every stretch of words of one kind that begins an entity, begins none inside, and cannot be longer."""
    found = set()
    for start, end in itertools.combinations(range(len(tags) + 1), 2):
        kinds = {parts(tag)[1] for tag in tags[start:end]}
        alone = len(kinds) == 1 and kinds != {""} and begins(tags, start)
        whole = not any(begins(tags, place) for place in range(start + 1, end))
        ended = end == len(tags) or tags[end] == "O" or begins(tags, end)
        if alone and whole and ended:
            found.add((kinds.pop(), start, end))
    return found


def test_every_row_of_up_to_four_words_has_the_entities_of_the_slow_formula():
    for length in range(5):
        for tags in itertools.product(TAGS, repeat=length):
            assert {span[1:] for span in marked([tags])} == slow(tags), tags


def test_precision_recall_and_f1_are_those_of_the_slow_formula():
    luck = random.Random(0)
    truth = [[luck.choice(TAGS) for _ in range(luck.randint(1, 12))] for _ in range(60)]
    values = [[tag if luck.random() < 0.7 else luck.choice(TAGS) for tag in tags] for tags in truth]
    true = {(row, *span) for row, tags in enumerate(truth) for span in slow(tags)}
    predicted = {(row, *span) for row, tags in enumerate(values) for span in slow(tags)}
    precision, recall = len(true & predicted) / len(predicted), len(true & predicted) / len(true)
    right = [a == b for tags, guess in zip(truth, values, strict=True) for a, b in zip(tags, guess, strict=True)]
    assert 0.2 < precision < 0.9
    assert evaluate("sequence", truth, Prediction(values=values)) == pytest.approx(
        {
            "entity_precision": precision,
            "entity_recall": recall,
            "entity_f1": 2 * precision * recall / (precision + recall),
            "token_accuracy": sum(right) / len(right),
        }
    )


# Worked out by hand; the middle entity is cut short, so neither counts as found.
def test_an_entity_with_a_missing_word_is_not_found():
    truth = [["B-LOC", "I-LOC", "O", "B-PER"], ["O"]]
    measured = evaluate("sequence", truth, Prediction(values=[["B-LOC", "O", "O", "B-PER"], ["O"]]))
    assert measured == {"entity_precision": 0.5, "entity_recall": 0.5, "entity_f1": 0.5, "token_accuracy": 0.8}


def test_nothing_predicted_is_zero_and_nothing_to_find_undefined():
    nothing = evaluate("sequence", [["B-x", "O"]], Prediction(values=[["O", "O"]]))
    assert (nothing["entity_precision"], nothing["entity_f1"]) == (0, 0)
    assert all(math.isnan(evaluate("sequence", [["O"]], Prediction(values=[[tag]]))["entity_f1"]) for tag in TAGS)
    speech = evaluate("sequence", [["NOUN", "VERB"]], Prediction(values=[["NOUN", "NOUN"]]))
    assert speech["token_accuracy"] == 0.5
    assert math.isnan(speech["entity_f1"])
