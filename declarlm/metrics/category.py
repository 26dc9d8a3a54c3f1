"""Metrics of categories, most of which judge binary outputs too.

A row without an answer counts as wrong. Averages over labels take those that occur in the truth or are predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import param
from declarlm.metrics.base import Metric, Prediction, metrics

if TYPE_CHECKING:
    import numpy as np

_CATEGORY = frozenset({"category"})
_BOTH = frozenset({"category", "binary"})


@metrics.register("accuracy")
class Accuracy(Metric):
    """Share of rows whose label is right (the micro average; Ludwig's ``accuracy_micro``)."""

    accepts = _BOTH
    weighs_both = True

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        right: list[bool] = [true == value for true, value in zip(truth, prediction.values, strict=True)]
        return sum(right) / len(truth)


class AveragedMetric(Metric):
    """Precision, recall or F1 of each label, averaged by ``sklearn.metrics.precision_recall_fscore_support``."""

    accepts = _CATEGORY
    position: ClassVar[int]
    average: ClassVar[str] = "macro"

    def labels(self, truth: Sequence[Any], prediction: Prediction) -> list[Any]:
        """Return the labels to average over."""
        return sorted({*truth, *(value for value in prediction.values if value in prediction.labels)})

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        from sklearn.metrics import precision_recall_fscore_support

        labels = self.labels(truth, prediction)
        measured = precision_recall_fscore_support(
            list(truth), list(prediction.values), labels=labels, average=self.average, zero_division=0
        )
        return float(measured[self.position])


@metrics.register("precision_macro")
class PrecisionMacro(AveragedMetric):
    """Mean over labels of the share of rows predicted so that are so; 0 for a label never predicted."""

    position = 0


@metrics.register("recall_macro")
class RecallMacro(AveragedMetric):
    """Mean over labels of the share of its rows that are found; 0 for a label that is only predicted."""

    position = 1


@metrics.register("accuracy_macro")
class AccuracyMacro(AveragedMetric):
    """Mean over the labels of the truth of the share of its rows that are found (balanced accuracy).

    This is what Ludwig calls ``accuracy`` of a category.
    """

    position = 1

    def labels(self, truth: Sequence[Any], prediction: Prediction) -> list[Any]:
        return sorted(set(truth))


@metrics.register("f1_macro")
class F1Macro(AveragedMetric):
    """Mean over labels of F1 = 2PR / (P + R), P the precision and R the recall of the label."""

    accepts = _BOTH
    weighs_both = True
    position = 2


@metrics.register("f1_micro")
class F1Micro(AveragedMetric):
    """F1 of all rows at once; it is the accuracy, unless some rows have no answer."""

    position = 2
    average = "micro"


@metrics.register("f1_weighted")
class F1Weighted(AveragedMetric):
    """Mean of F1 over labels, weighted by how many rows of the truth have the label."""

    position = 2
    average = "weighted"


@metrics.register("roc_auc")
class RocAuc(Metric):
    """Chance that a row with a label gets a higher probability for it than a row without, ties counting half.

    Of several labels, the mean over each against the rest, as ``sklearn.metrics.roc_auc_score`` with ``ovr`` and
    ``macro``, but over labels that some rows of the truth have and others have not. NaN if there are none.
    """

    accepts = _BOTH
    needs_probabilities = True

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        import numpy as np
        from sklearn.metrics import roc_auc_score

        probabilities = _probabilities(prediction)
        areas = []
        for index in [1] if len(prediction.labels) == 2 else range(len(prediction.labels)):
            is_label = np.array([true == prediction.labels[index] for true in truth])
            if is_label.any() and not is_label.all():
                areas.append(roc_auc_score(is_label, probabilities[:, index]))
        return float(np.mean(areas)) if areas else math.nan


@metrics.register("log_loss")
class LogLoss(Metric):
    """Mean of -ln p over rows, p the probability of the true label, at least 2.2e-16; in nats.

    The cross entropy, without class weights, as ``sklearn.metrics.log_loss``. A label that the model does not
    know has p = 0.
    """

    accepts = _BOTH
    goal = "minimize"
    needs_probabilities = True

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        import numpy as np

        of_truth = _of_truth(truth, prediction)
        return float(-np.log(np.clip(of_truth, np.finfo(np.float64).eps, None)).mean())


@metrics.register("hits_at_k")
class HitsAtK(Metric):
    """Share of rows whose label is among the k most probable, as ``sklearn.metrics.top_k_accuracy_score``."""

    accepts = _CATEGORY
    needs_probabilities = True

    class Config(Metric.Config):
        k: int = param("How many of the most probable labels count.", default=3, min=1)

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        import numpy as np

        probabilities = _probabilities(prediction)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.config.k]
        chosen = [{prediction.labels[index] for index in row} for row in best.tolist()]
        return sum(true in labels for true, labels in zip(truth, chosen, strict=True)) / len(truth)


def _probabilities(prediction: Prediction) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.asarray(prediction.probabilities, dtype=np.float64)


def _of_truth(truth: Sequence[Any], prediction: Prediction) -> np.ndarray[Any, Any]:
    """Return the probability of each row's true label, 0 if the model does not know it, ``(rows,)``."""
    import numpy as np

    index_of = {label: index for index, label in enumerate(prediction.labels)}
    indices = np.array([index_of.get(true, -1) for true in truth])
    found = _probabilities(prediction)[np.arange(len(truth)), indices]
    return np.where(indices < 0, 0.0, found)
