"""Losses and metrics of a model on the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.metrics import evaluate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.features.base import OutputFeature, Raw
    from declarlm.models.base import Model, Store

TOKEN_BUDGET = 8192


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        metrics: Value by output feature and metric; ``combined`` holds the loss over all outputs.
        predictions: The prediction columns, one row for each row of the table, in its order.
    """

    metrics: dict[str, dict[str, float]]
    predictions: pd.DataFrame


def measure(outputs: list[OutputFeature], table: pd.DataFrame, raws: Mapping[str, Raw]) -> dict[str, dict[str, float]]:
    """Return the metrics of each predicted output over all rows, each of which has a label."""
    return {
        output.name: evaluate(
            str(output.config.type),
            output.truth(table[output.config.source]),
            output.metric_prediction(raws[output.name]),
            output.config.metrics,
        )
        for output in outputs
        if output.name in raws
    }


def mean_losses(
    model: Model, store: Store, *, budget: int = TOKEN_BUDGET, max_rows: int | None = None
) -> dict[str, float]:
    """Return each loss of the model, and ``loss``, their weighted sum, averaged over all rows at once.

    The sums of all micro-batches are divided by the sum of all weights: the mean over tokens (or rows), never the
    mean of batch means. The module is put into evaluation mode for the time of the call.
    """
    import torch

    sums = dict.fromkeys(model.importance, 0.0)
    weights = dict.fromkeys(model.importance, 0.0)
    training = model.module.training
    model.module.eval()
    with torch.inference_mode():
        for rows in by_budget(store.costs, budget, max_rows):
            for name, value in model.losses(store, rows).items():
                sums[name] += float(value)
            for name, weight in model.weights(store, rows).items():
                weights[name] += weight
    model.module.train(training)
    means = {name: sums[name] / weights[name] if weights[name] else math.nan for name in sums}
    return {"loss": sum(model.importance[name] * mean for name, mean in means.items())}


def by_budget(costs: np.ndarray[Any, Any], budget: int, max_rows: int | None = None) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the rows in batches of like length whose padded size is within ``budget``, or of a single row."""
    import numpy as np

    order = np.argsort(costs, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        limit = len(order) if max_rows is None else min(len(order), start + max_rows)
        while end < limit and (end + 1 - start) * int(costs[order[end]]) <= budget:
            end += 1
        yield order[start:end]
        start = end
