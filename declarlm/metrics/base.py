"""What every metric has in common.

One rule for undefined cases: a metric that the truth makes undefined (one label only for ROC AUC, no row at all)
is NaN, which never counts as the best; one that the prediction makes undefined (nothing predicted positive, all
numbers the same) is 0. Neither is an error or a warning.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from declarlm.core import DeclarlmError, Registry, Section
from declarlm.core.errors import choose_from

if TYPE_CHECKING:
    import numpy as np

Goal = Literal["maximize", "minimize"]
metrics: Registry[Metric] = Registry("metric", package="declarlm.metrics")

# Measured where the loss is, and not from predictions.
_OF_THE_LOSS: dict[str, Goal] = {"loss": "minimize", "perplexity": "minimize"}
_OTHER_NAMES = {
    "accuracy_micro": "accuracy",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "sequence_accuracy": "exact_match",
}


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model predicted for one output.

    Attributes:
        values: A label, number or text for each row; an empty label or NaN where the model gave no answer.
        probabilities: Share of each label, ``float (rows, labels)``, None if the model gives none.
        labels: Label of each column of ``probabilities``; of a binary output, false and true in this order.
        uncalibrated: ``probabilities`` as the model gave them, None if they were not calibrated.
        no_answer: Text that says that there is no answer, None if no text does.
        is_valid: Whether each value is what its output asks for, None if that is not checked.
    """

    values: Sequence[Any]
    probabilities: np.ndarray[Any, Any] | None = None
    labels: Sequence[str] = ()
    uncalibrated: np.ndarray[Any, Any] | None = None
    no_answer: str | None = None
    is_valid: Sequence[bool] | None = None


class Metric:
    """A number that says how near predictions come to the truth.

    Attributes:
        accepts: Output types that it can judge.
        goal: Whether a higher or a lower number is better.
        is_default: Whether it is measured when a config names no metrics.
        default_of: Output types of which it is measured then though it is no default of others.
        weighs_both: Whether it weighs errors of both labels of a binary output, so that it can choose a threshold.
        needs_probabilities: Whether it is NaN without them.
    """

    accepts: ClassVar[frozenset[str]]
    goal: ClassVar[Goal] = "maximize"
    is_default: ClassVar[bool] = True
    default_of: ClassVar[frozenset[str]] = frozenset()
    weighs_both: ClassVar[bool] = False
    needs_probabilities: ClassVar[bool] = False

    class Config(Section):
        pass

    def __init__(self, config: Any) -> None:
        self.config = config

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        """Return the metric over at least one row; NaN if the truth leaves it undefined."""
        raise NotImplementedError


def canonical(name: str) -> str:
    """Return Declarlm's name for a metric that may have Ludwig's.

    >>> canonical("root_mean_squared_error"), canonical("rmse")
    ('rmse', 'rmse')
    """
    return _OTHER_NAMES.get(name, name)


def usual(output_type: str) -> list[str]:
    """Return the metrics that are measured of an output when its config names none."""
    fitting = [name for name in metrics if output_type in metrics[name].accepts]
    return [name for name in fitting if metrics[name].is_default or output_type in metrics[name].default_of]


def of_the_loss(output_type: str) -> list[str]:
    """Return the metrics that are measured where the loss is: always, and not from predictions."""
    return ["loss", "perplexity"] if output_type in ("text", "json") else ["loss"]


def goal_of(name: str) -> Goal:
    """Return whether a higher or a lower value of a metric is better.

    Raises:
        DeclarlmError: If no metric has that name.
    """
    name = canonical(name)
    if name in _OF_THE_LOSS:
        return _OF_THE_LOSS[name]
    if name not in metrics:
        raise DeclarlmError(f"no metric is named {choose_from(name, [*metrics, *_OF_THE_LOSS])}")
    return metrics[name].goal


def evaluate(
    output_type: str, truth: Iterable[Any], prediction: Prediction, names: Collection[str] | None = None
) -> dict[str, float]:
    """Return metrics by the names that were asked for; without any, the default ones of the output type.

    Raises:
        DeclarlmError: If a name belongs to no metric of this output type.
    """
    fitting = [name for name in metrics if output_type in metrics[name].accepts]
    if names is None:
        names = usual(output_type)
        if prediction.probabilities is None:
            names = [name for name in names if not metrics[name].needs_probabilities]
    for name in names:
        if canonical(name) not in fitting:
            raise DeclarlmError(f"no {output_type} metric is named {choose_from(name, fitting)}")
    rows = list(truth)
    return {name: _measured(metrics[canonical(name)], rows, prediction) for name in names}


def _measured(plugin: type[Metric], truth: list[Any], prediction: Prediction) -> float:
    if not truth or (plugin.needs_probabilities and prediction.probabilities is None):
        return math.nan
    metric: Metric = plugin.Config().build()
    return float(metric.compute(truth, prediction))
