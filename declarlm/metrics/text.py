"""Metrics of free text; each is a mean over rows of a number from 0 to 1."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

from declarlm.metrics.base import Metric, Prediction, metrics

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORDS = re.compile(r"\w+")


class TextMetric(Metric):
    """The mean over rows of how well one text matches another, or the best of several right ones."""

    accepts = frozenset({"text"})
    whole_without_answer = False  # whether the text that says that there is no answer has no words to be right in part

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        whole = prediction.no_answer if self.whole_without_answer else None
        scores = [
            max(self._score(str(one), str(value), whole) for one in (true if isinstance(true, list) else [true]))
            for true, value in zip(truth, prediction.values, strict=True)
        ]
        return sum(scores) / len(scores)

    def _score(self, truth: str, value: str, no_answer: str | None) -> float:
        if no_answer is not None:
            none, expected, given = map(_squad_words, (no_answer, truth, value))
            if none in (expected, given):
                return float(expected == given)
        return self.score(truth, value)

    def score(self, truth: str, value: str) -> float:
        """Return how well a predicted text matches the true one, from 0 to 1."""
        raise NotImplementedError


@metrics.register("exact_match")
class ExactMatch(TextMetric):
    """Share of rows whose text is the true one, white space around it aside."""

    def score(self, truth: str, value: str) -> float:
        return float(truth.strip() == value.strip())


@metrics.register("normalized_exact_match")
class NormalizedExactMatch(TextMetric):
    """Share of rows whose text is the true one; case, ASCII punctuation, white space, ``a``, ``an``, ``the`` aside.

    The exact match of question answering. Source: Rajpurkar et al., "SQuAD", 2016, https://arxiv.org/abs/1606.05250,
    section 6.1.
    """

    is_default = False

    def score(self, truth: str, value: str) -> float:
        return float(_squad_words(truth) == _squad_words(value))


@metrics.register("token_f1")
class TokenF1(TextMetric):
    """F1 of the words that prediction and truth have in common, each as often as it occurs in both.

    Words are what white space separates after lowering the case and dropping ASCII punctuation and the words
    ``a``, ``an``, ``the``. Two texts without words match, one without does not. The text that stands for a missing
    answer (``fill_value``) is right as a whole or not at all.
    Sources: Rajpurkar et al., "SQuAD", 2016, https://arxiv.org/abs/1606.05250, section 6.1; for questions without an
    answer "Know What You Don't Know", 2018, https://arxiv.org/abs/1806.03822, section 5.
    """

    whole_without_answer = True

    def score(self, truth: str, value: str) -> float:
        expected, given = _squad_words(truth), _squad_words(value)
        if not expected or not given:
            return float(expected == given)
        common = sum((Counter(expected) & Counter(given)).values())
        return 2 * common / (len(expected) + len(given))


@metrics.register("rouge_l")
class RougeL(TextMetric):
    """F1 of the longest sequence of words that prediction and truth share in this order, gaps allowed.

    With LCS the length of that sequence, 2 LCS / (m + n) for texts of m and n words. Words are runs of letters,
    digits and underscores in lower case, unstemmed. Two texts without words match, one without does not.
    Source: Lin, "ROUGE", 2004, https://aclanthology.org/W04-1013, section 3.1, with beta = 1.
    """

    def score(self, truth: str, value: str) -> float:
        expected, given = _WORDS.findall(truth.lower()), _WORDS.findall(value.lower())
        if not expected or not given:
            return float(expected == given)
        return 2 * _longest_common_subsequence(expected, given) / (len(expected) + len(given))


@metrics.register("json_valid")
class JsonValid(TextMetric):
    """Share of predictions that are a JSON object or array, and nothing else; the truth does not count."""

    accepts = frozenset({"text", "json"})
    is_default = False
    default_of = frozenset({"json"})

    def score(self, truth: str, value: str) -> float:
        return float(_canonical_json(value) is not None)


@metrics.register("json_exact_match")
class JsonExactMatch(TextMetric):
    """Share of rows whose prediction is the same JSON as the truth: order of keys and spaces aside, 1 equal to 1.0."""

    accepts = frozenset({"text", "json"})
    is_default = False
    default_of = frozenset({"json"})

    def score(self, truth: str, value: str) -> float:
        expected = _canonical_json(truth)
        return float(expected is not None and expected == _canonical_json(value))


def _squad_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return its length; one integer holds a whole row of the usual table.

    Bit i of ``row`` is 0 where that table grows from column i to i + 1.
    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", 2004.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    full = row = (1 << len(first)) - 1
    for word in second:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(first) - row.bit_count()


def _canonical_json(text: str) -> str | None:
    """Return one spelling of a JSON object or array, None if the text is neither."""
    try:
        value = json.loads(text, parse_float=_number, parse_constant=_refused)
        return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else None
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _refused(constant: str) -> None:
    """Refuse NaN and Infinity, which Python's parser takes and JSON does not have."""
    raise ValueError(constant)
