"""Metrics of binary outputs; the positive label is the second one.

Precision, recall, F1 and average precision are NaN if the truth has no positive row, precision and F1 are 0 if
none is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from declarlm.metrics.base import Metric, Prediction, metrics

_BINARY = frozenset({"binary"})


class CountMetric(Metric):
    """A ratio of counts of right and wrong rows of either side."""

    accepts = _BINARY

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        positive = prediction.labels[1]
        pairs = [(true == positive, value == positive) for true, value in zip(truth, prediction.values, strict=True)]
        counts = {pair: pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))}
        return self.ratio(*counts.values())

    def ratio(self, hits: int, misses: int, false_alarms: int, rejections: int) -> float:
        """Return the metric from true positives, false negatives, false positives and true negatives."""
        raise NotImplementedError


@metrics.register("precision")
class Precision(CountMetric):
    """Share of the rows predicted positive that are positive: TP / (TP + FP)."""

    def ratio(self, hits: int, misses: int, false_alarms: int, rejections: int) -> float:
        return hits / max(hits + false_alarms, 1) if hits + misses else math.nan


@metrics.register("recall")
class Recall(CountMetric):
    """Share of the positive rows that are found: TP / (TP + FN)."""

    def ratio(self, hits: int, misses: int, false_alarms: int, rejections: int) -> float:
        return hits / (hits + misses) if hits + misses else math.nan


@metrics.register("f1")
class F1(CountMetric):
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""

    weighs_both = True

    def ratio(self, hits: int, misses: int, false_alarms: int, rejections: int) -> float:
        return 2 * hits / (2 * hits + false_alarms + misses) if hits + misses else math.nan


@metrics.register("specificity")
class Specificity(CountMetric):
    """Share of the negative rows that are not predicted positive: TN / (TN + FP); NaN without negative rows."""

    def ratio(self, hits: int, misses: int, false_alarms: int, rejections: int) -> float:
        return rejections / (rejections + false_alarms) if rejections + false_alarms else math.nan


@metrics.register("average_precision")
class AveragePrecision(Metric):
    """Area under the precision-recall curve as a sum of steps: ``sklearn.metrics.average_precision_score``."""

    accepts = _BINARY
    needs_probabilities = True

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        import numpy as np
        from sklearn.metrics import average_precision_score

        is_positive = np.array([true == prediction.labels[1] for true in truth])
        if not is_positive.any():
            return math.nan
        return float(average_precision_score(is_positive, np.asarray(prediction.probabilities)[:, 1]))
