"""What each reward gives to an answer."""

import pandas as pd
import pytest

from declarlm.rewards import rewards


def score(answers, known=None, **settings):
    config = rewards[settings["type"]].Config.load({key: value for key, value in settings.items() if key != "type"})
    return list(config.build().score(answers, known or [""] * len(answers), pd.DataFrame(index=range(len(answers)))))


def test_an_exact_match_ignores_spaces_around_it_and_if_asked_capitals():
    answers, known = [" Red", "red", "red.", ""], ["red", "red", "red", "red"]
    assert score(answers, known, type="exact_match") == [0, 1, 0, 0]
    assert score(answers, known, type="exact_match", case_sensitive=False) == [1, 1, 0, 0]


def test_valid_json_is_an_object_or_a_list():
    answers = ['{"a": 1, "b": 2}', "[1]", "{a: 1}", "1", "", '{"a": 1} and', "[" * 100_000]
    assert score(answers, type="valid_json") == [1, 1, 0, 0, 0, 0, 0]
    assert score(answers, type="valid_json", keys=["a", "c"]) == [0.5, 0, 0, 0, 0, 0, 0]


def test_a_regular_expression_is_found_anywhere_or_matches_all():
    answers = ["a\nb", "xx a", "b"]
    assert score(answers, type="regex", pattern="a.b|a$") == [1, 1, 0]
    assert score(answers, type="regex", pattern="a.b|a$", whole=True) == [1, 0, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"min": 2}, [0, 0.5, 1, 1]),
        ({"max": 2}, [1, 1, 1, 0.5]),
        ({"min": 2, "max": 3, "unit": "characters"}, [0, 1, 1, 3 / 7]),
    ],
)
def test_a_length_outside_the_bounds_loses_by_its_ratio(settings, expected):
    assert score(["", "one", "a b", "a b c d"], type="length", **settings) == pytest.approx(expected)
