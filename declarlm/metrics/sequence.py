"""Metrics of tags: of words, and of the entities that they mark.

An entity is a longest stretch of words of one kind, in the tags IOB1, IOB2, IOE or BIOES. It is found if the same words
are predicted as one entity of the same kind. Other tags, such as parts of speech, mark no entities: NaN.
Source: Tjong Kim Sang and De Meulder, "CoNLL-2003", 2003, https://aclanthology.org/W03-0419, section 2.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from declarlm.metrics.base import Metric, Prediction, metrics

_TAG = re.compile(r"O|[BIES]-.+", re.DOTALL)


@metrics.register("token_accuracy")
class TokenAccuracy(Metric):
    """Share of words whose tag is right."""

    accepts = frozenset({"sequence"})

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        pairs = [
            true == value
            for tags, values in zip(truth, prediction.values, strict=True)
            for true, value in zip(tags, values, strict=True)
        ]
        return sum(pairs) / len(pairs) if pairs else math.nan


class EntityMetric(Metric):
    """A ratio of the numbers of entities that are found, in the truth, and predicted, over all rows."""

    accepts = frozenset({"sequence"})

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        if not all(_TAG.fullmatch(tag) for tags in truth for tag in tags):
            return math.nan
        true, predicted = ({*marked(truth)}, {*marked(prediction.values)})
        return self.ratio(len(true & predicted), len(true), len(predicted)) if true else math.nan

    def ratio(self, found: int, true: int, predicted: int) -> float:
        """Return the metric; ``true`` is at least 1."""
        raise NotImplementedError


@metrics.register("entity_precision")
class EntityPrecision(EntityMetric):
    """Share of the predicted entities that are in the truth, with the same words and kind; 0 if none is predicted."""

    def ratio(self, found: int, true: int, predicted: int) -> float:
        return found / max(predicted, 1)


@metrics.register("entity_recall")
class EntityRecall(EntityMetric):
    """Share of the true entities that are predicted, with the same words and kind."""

    def ratio(self, found: int, true: int, predicted: int) -> float:
        return found / true


@metrics.register("entity_f1")
class EntityF1(EntityMetric):
    """F1 = 2PR / (P + R) of entities over all rows (the micro average, as in CoNLL 2003 and ``seqeval``)."""

    def ratio(self, found: int, true: int, predicted: int) -> float:
        return 2 * found / (true + predicted)


def marked(rows: Sequence[Sequence[str]]) -> list[tuple[int, str, int, int]]:
    """Return the entities of all rows: row, kind, first word, and the word after the last one.

    >>> marked([["B-LOC", "I-LOC", "O", "I-PER"]])
    [(0, 'LOC', 0, 2), (0, 'PER', 3, 4)]
    """
    found: list[tuple[int, str, int, int]] = []
    for row, tags in enumerate(rows):
        kind, start = "", 0
        for place, tag in enumerate([*tags, "O"]):
            mark, _, this = tag.partition("-")
            if kind and not (mark in ("I", "E") and this == kind):
                found.append((row, kind, start, place))
                kind = ""
            if this and not kind:
                kind, start = this, place
            if this and mark in ("E", "S"):
                found.append((row, kind, start, place + 1))
                kind = ""
    return found
