import numpy as np
import pytest

from declarlm.core import ConfigError
from declarlm.decoders import decoders


def extractor(name, **settings):
    return decoders[name].Config.load(settings).build()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 42.", 42),
        ("-3.5e2 degrees", -350),
        ("1,234,567 people", 1234567),
        ("1234,5", 1234),
        (".5", 0.5),
        ("between 10-20", 10),
        ("GPT-4", 4),
        ("3 or 4", 3),
        ("none", None),
    ],
)
def test_the_first_number_of_an_answer_is_read(text, number):
    assert extractor("number_extractor").read(text) == number


def test_a_text_is_stripped_or_cut_by_a_pattern():
    assert extractor("text_extractor").read(" a \n") == "a"
    assert extractor("text_extractor", strip=False).read(" a ") == " a "
    assert extractor("text_extractor", pattern=r"<b>(.*?)</b>").read("x <b>bold\nline</b> y") == "bold\nline"
    assert extractor("text_extractor", pattern=r"\d+").read("room 12") == "12"
    assert extractor("text_extractor", pattern=r"\d+").read("no room") == "no room"


def test_a_broken_pattern_is_refused():
    with pytest.raises(ConfigError, match="pattern: is not a regular expression: "):
        extractor("text_extractor", pattern="(")
    with pytest.raises(ConfigError, match=r"match.a.value: is not a regular expression: "):
        extractor("category_extractor", match={"a": {"type": "regex", "value": "("}})


def test_the_first_rule_that_holds_gives_the_label_in_any_case():
    match = {
        "bad": {"type": "contains", "value": "NEGATIVE"},
        "good": {"type": "regex", "value": r"\bpositive\b"},
    }
    decoder = extractor("category_extractor", match=match)
    assert decoder.by_generation
    assert decoder.read("Positive, not negative", ["good", "bad"]) == "bad"
    assert decoder.read("positive!", ["good", "bad"]) == "good"
    assert decoder.read("neither", ["good", "bad"]) is None


def test_without_rules_the_more_exact_label_wins():
    decoder = extractor("category_extractor")
    assert not decoder.by_generation
    assert decoder.read("A very good one", ["good", "very good"]) == "very good"
    assert decoder.answer("good") == "good"


def test_the_value_of_a_rule_is_what_is_scored():
    decoder = extractor("category_extractor", match={"1": {"type": "contains", "value": "positive"}})
    assert [decoder.answer(label) for label in ("1", "0")] == ["positive", "0"]
    assert not decoder.by_generation


def test_scores_become_shares_by_sum_or_by_mean():
    log_probabilities, num_tokens = np.log([[0.5, 0.25]]), np.array([1, 2])
    by_sum = extractor("category_extractor").probabilities(log_probabilities, num_tokens)
    by_mean = extractor("category_extractor", score="mean").probabilities(log_probabilities, num_tokens)
    np.testing.assert_allclose(by_sum, [[2 / 3, 1 / 3]])
    np.testing.assert_allclose(by_mean, [[0.5, 0.5]])


def test_clip_needs_a_smaller_and_a_larger_number():
    with pytest.raises(ConfigError, match=r"clip: must be a smaller and a larger number, got \[2.0, 1.0\]"):
        decoders["regressor"].Config.load({"clip": [2, 1]})
