"""Which labels are taken for which others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from declarlm.metrics.base import Prediction


@dataclass(frozen=True)
class LabelReport:
    """Counts of right and wrong rows by label.

    Attributes:
        labels: The model's labels, then others that occur in the truth or among the answers.
        confusion: Rows with the true label i and the predicted label j, by i and j.
        per_label: ``precision``, ``recall``, ``f1``, ``rows`` (of the truth) and ``predicted`` (rows) by label. A
            ratio is NaN for a label without rows in the truth, and 0 for one that is never predicted.
        kappa: Cohen's kappa: (accuracy - chance) / (1 - chance), NaN if chance is 1.
    """

    labels: list[str]
    confusion: list[list[int]]
    per_label: dict[str, dict[str, float]]
    kappa: float


def label_report(truth: Iterable[Any], prediction: Prediction) -> LabelReport:
    """Return counts by label of a category or binary output, in order of the model's labels."""
    import numpy as np

    true = list(truth)
    others = sorted({*true, *prediction.values} - set(prediction.labels))
    labels = [*prediction.labels, *others]
    index_of = {label: index for index, label in enumerate(labels)}
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    rows, columns = ([index_of[label] for label in side] for side in (true, prediction.values))
    np.add.at(confusion, (rows, columns), 1)
    right, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    counts = zip(labels, right.tolist(), actual.tolist(), predicted.tolist(), strict=True)
    total = max(len(true), 1)
    chance = float(actual @ predicted) / total**2
    return LabelReport(
        labels=labels,
        confusion=confusion.tolist(),
        per_label={label: _ratios(*numbers) for label, *numbers in counts},
        kappa=(float(right.sum()) / total - chance) / (1 - chance) if chance < 1 else math.nan,
    )


def _ratios(right: int, actual: int, predicted: int) -> dict[str, float]:
    ratios = {
        "precision": right / max(predicted, 1),
        "recall": right / max(actual, 1),
        "f1": 2 * right / max(actual + predicted, 1),
    }
    return {**(ratios if actual else dict.fromkeys(ratios, math.nan)), "rows": actual, "predicted": predicted}
