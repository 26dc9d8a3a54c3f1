"""Metrics of sets of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from declarlm.metrics.base import Metric, Prediction, metrics


class SetMetric(Metric):
    """A metric of the labels that rows have and those that are predicted for them."""

    accepts = frozenset({"set"})

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        return self.compare(
            [set(labels) for labels in truth], [set(labels) for labels in prediction.values], prediction
        )

    def compare(self, truth: list[set[str]], found: list[set[str]], prediction: Prediction) -> float:
        """Return the metric over at least one row."""
        raise NotImplementedError


@metrics.register("jaccard")
class Jaccard(SetMetric):
    """Mean over rows of the labels that are right among those that are there or predicted; 1 where there are none."""

    def compare(self, truth: list[set[str]], found: list[set[str]], prediction: Prediction) -> float:
        shares = [len(one & two) / len(one | two) if one | two else 1.0 for one, two in zip(truth, found, strict=True)]
        return sum(shares) / len(shares)


@metrics.register("set_f1_micro")
class SetF1Micro(SetMetric):
    """F1 of all labels of all rows taken together; 0 where none is right."""

    def compare(self, truth: list[set[str]], found: list[set[str]], prediction: Prediction) -> float:
        right = sum(len(one & two) for one, two in zip(truth, found, strict=True))
        total = sum(map(len, truth)) + sum(map(len, found))
        return 2 * right / total if total else math.nan


@metrics.register("set_f1_macro")
class SetF1Macro(SetMetric):
    """Mean over labels of their F1, of those that occur in the truth or are predicted."""

    def compare(self, truth: list[set[str]], found: list[set[str]], prediction: Prediction) -> float:
        labels = set().union(*truth, *found)
        scores = []
        for label in sorted(labels):
            has, said = [label in one for one in truth], [label in one for one in found]
            scores.append(2 * sum(a and b for a, b in zip(has, said, strict=True)) / (sum(has) + sum(said)))
        return sum(scores) / len(scores) if scores else math.nan


@metrics.register("subset_accuracy")
class SubsetAccuracy(SetMetric):
    """Share of rows for which exactly the right labels are predicted."""

    def compare(self, truth: list[set[str]], found: list[set[str]], prediction: Prediction) -> float:
        return sum(one == two for one, two in zip(truth, found, strict=True)) / len(truth)


@metrics.register("hamming_loss")
class HammingLoss(SetMetric):
    """Share of wrong decisions among those about every known label in every row."""

    goal = "minimize"

    def compare(self, truth: list[set[str]], found: list[set[str]], prediction: Prediction) -> float:
        known = len(set(prediction.labels).union(*truth))
        wrong = sum(len(one ^ two) for one, two in zip(truth, found, strict=True))
        return wrong / (len(truth) * known) if known else math.nan
