"""Metrics of probabilities: whether what is given 80 % is right in 8 of 10 rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from declarlm.metrics.base import Metric, Prediction, metrics

if TYPE_CHECKING:
    import numpy as np

NUM_BINS = 15
_BOTH = frozenset({"category", "binary"})


class Bin(NamedTuple):
    """The rows whose most probable label has a probability in one interval, its upper end included.

    Attributes:
        lower: Start of the interval.
        upper: End of the interval.
        rows: Number of rows.
        confidence: Mean probability of the most probable label, NaN without rows.
        accuracy: Share of rows of which it is the true label, NaN without rows.
    """

    lower: float
    upper: float
    rows: int
    confidence: float
    accuracy: float


def reliability(truth: Sequence[Any], probabilities: np.ndarray[Any, Any], labels: Sequence[str]) -> list[Bin]:
    """Return the rows in ``NUM_BINS`` bins of the same width; a true label that is none of ``labels`` is never right.

    Args:
        truth: The true label of each row.
        probabilities: Share of each label, ``float (rows, labels)``.
        labels: Label of each column.
    """
    import numpy as np

    shares = np.asarray(probabilities, dtype=np.float64)
    best = shares.argmax(axis=1)
    confidence = shares[np.arange(len(shares)), best]
    right = np.array([labels[index] == true for index, true in zip(best.tolist(), truth, strict=True)], dtype=bool)
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, NUM_BINS - 1)
    found = []
    for place in range(NUM_BINS):
        inside = places == place
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (math.nan, math.nan)
        found.append(Bin(float(edges[place]), float(edges[place + 1]), count, *means))
    return found


def expected_error(bins: Sequence[Bin]) -> float:
    """Return the mean over rows of the distance between confidence and accuracy of their bin, NaN without rows."""
    total = sum(one.rows for one in bins)
    gaps = sum(one.rows * abs(one.accuracy - one.confidence) for one in bins if one.rows)
    return gaps / total if total else math.nan


@metrics.register("expected_calibration_error")
class ExpectedCalibrationError(Metric):
    """Mean distance between how sure predictions are and how often they are right, over 15 bins of the same width.

    Of the most probable label of each row; 0 is perfect. Source: Guo et al., "On Calibration of Modern Neural
    Networks", 2017, https://arxiv.org/abs/1706.04599, equation 3.
    """

    accepts = _BOTH
    goal = "minimize"
    is_default = False  # It is measured where the config names it, and of outputs with calibration: true.
    needs_probabilities = True

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        if prediction.probabilities is None:
            return math.nan
        return expected_error(reliability(truth, prediction.probabilities, prediction.labels))


@metrics.register("uncalibrated_expected_calibration_error")
class UncalibratedExpectedCalibrationError(Metric):
    """The same error of the probabilities as the model gave them, before they were calibrated."""

    accepts = _BOTH
    goal = "minimize"
    is_default = False
    needs_probabilities = True

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        given = prediction.probabilities if prediction.uncalibrated is None else prediction.uncalibrated
        return math.nan if given is None else expected_error(reliability(truth, given, prediction.labels))
