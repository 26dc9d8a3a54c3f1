"""Metrics of numbers.

A row whose prediction is not a finite number (an answer without one) is left out, and ``answered`` tells how many
rows are left; NaN if none is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.metrics.base import Metric, Prediction, metrics

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[Any, np.dtype[np.float64]]


class NumberMetric(Metric):
    """A metric of two arrays of finite numbers, ``float64 (rows,)`` or, of vectors, all their numbers in a row."""

    accepts = frozenset({"number"})

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        import numpy as np

        true = np.asarray(truth, dtype=np.float64)
        values = np.asarray(prediction.values, dtype=np.float64)
        answered = np.isfinite(values)
        with np.errstate(all="ignore"):  # A model may answer 1e300, whose square is infinite.
            return self.compare(true[answered], values[answered]) if answered.any() else math.nan

    def compare(self, truth: Numbers, values: Numbers) -> float:
        """Return the metric over the rows that have an answer."""
        raise NotImplementedError


@metrics.register("answered")
class Answered(NumberMetric):
    """Share of rows with a finite number as prediction."""

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        return sum(math.isfinite(value) for value in prediction.values) / len(truth)


@metrics.register("mse")
class MeanSquaredError(NumberMetric):
    """Mean of the squared differences, in the squared unit of the column."""

    accepts = frozenset({"number", "vector"})
    goal = "minimize"

    def compare(self, truth: Numbers, values: Numbers) -> float:
        return float(((truth - values) ** 2).mean())


@metrics.register("rmse")
class RootMeanSquaredError(NumberMetric):
    """Root of the mean of the squared differences, in the unit of the column."""

    accepts = frozenset({"number", "vector"})
    goal = "minimize"

    def compare(self, truth: Numbers, values: Numbers) -> float:
        return math.sqrt(((truth - values) ** 2).mean())


@metrics.register("mae")
class MeanAbsoluteError(NumberMetric):
    """Mean of the absolute differences, in the unit of the column."""

    accepts = frozenset({"number", "vector"})
    goal = "minimize"

    def compare(self, truth: Numbers, values: Numbers) -> float:
        return float(abs(truth - values).mean())


@metrics.register("mape")
class MeanAbsolutePercentageError(NumberMetric):
    """Mean of the absolute differences, each as a share of the true number (0.1 is 10 %).

    Rows whose true number is 0 have no such share and are left out; NaN if all are.
    """

    goal = "minimize"

    def compare(self, truth: Numbers, values: Numbers) -> float:
        counts = truth != 0
        return float((abs(truth - values)[counts] / abs(truth[counts])).mean()) if counts.any() else math.nan


@metrics.register("r2")
class R2(NumberMetric):
    """Share of the variance of the truth that is explained: 1 - sum (t - v)^2 / sum (t - mean t)^2.

    NaN if all true numbers are the same.
    """

    def compare(self, truth: Numbers, values: Numbers) -> float:
        if truth.max() == truth.min():
            return math.nan
        return float(1 - ((truth - values) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


@metrics.register("pearson")
class Pearson(NumberMetric):
    """Linear correlation of prediction and truth, from -1 to 1.

    NaN if all true numbers are the same, 0 if all predictions are.
    """

    def compare(self, truth: Numbers, values: Numbers) -> float:
        return _correlation(truth, values)


@metrics.register("spearman")
class Spearman(NumberMetric):
    """Correlation of the ranks of prediction and truth, ties having their mean rank; from -1 to 1.

    NaN if all true numbers are the same, 0 if all predictions are.
    """

    def compare(self, truth: Numbers, values: Numbers) -> float:
        from scipy.stats import rankdata

        return _correlation(rankdata(truth), rankdata(values))


def _correlation(truth: Numbers, values: Numbers) -> float:
    if truth.max() == truth.min():
        return math.nan
    if values.max() == values.min():
        return 0.0
    truth, values = truth - truth.mean(), values - values.mean()
    truth, values = truth / abs(truth).max(), values / abs(values).max()  # Squares of the largest may overflow.
    return float(truth @ values / math.sqrt((truth @ truth) * (values @ values)))
