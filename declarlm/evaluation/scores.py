"""Losses and metrics of a model on the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.core.batching import in_batches
from declarlm.features.base import interleaved
from declarlm.metrics import evaluate, of_the_loss, usual
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.features.base import OutputFeature, Raw
    from declarlm.models.base import Model, Store

TOKEN_BUDGET = 8192
_OF_CALIBRATION = ["expected_calibration_error", "uncalibrated_expected_calibration_error"]


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        metrics: Value by output feature and metric; ``combined`` holds the loss over all outputs.
        predictions: The prediction columns, one row for each row of the table, in its order.
    """

    metrics: dict[str, dict[str, float]]
    predictions: pd.DataFrame


def measure(
    outputs: list[OutputFeature], table: pd.DataFrame, raws: Mapping[str, Raw], also: tuple[str, str] = ("", "")
) -> dict[str, dict[str, float]]:
    """Return the metrics of each predicted output over all rows, each of which has a label.

    Args:
        outputs: The outputs.
        table: Rows with their labels.
        raws: Predictions by output.
        also: An output and a metric of it that is measured even if the config does not name it.
    """
    return {
        output.name: evaluate(
            str(output.config.type),
            output.truth(table[output.config.source]),
            output.metric_prediction(raws[output.name]),
            _names(output, also),
        )
        for output in outputs
        if output.name in raws
    }


def _names(output: OutputFeature, also: tuple[str, str]) -> list[str] | None:
    """Return the metrics to compute from an output's predictions, None for all of them."""
    calibrated = getattr(output.state, "temperature", None) is not None
    if output.config.metrics is None and not calibrated:
        return None
    kind = str(output.config.type)
    wanted = [*(usual(kind) if output.config.metrics is None else output.config.metrics), *_OF_CALIBRATION * calibrated]
    wanted += [also[1]] if also[0] == output.name else []
    return [name for name in dict.fromkeys(wanted) if name not in of_the_loss(kind)]


def mean_losses(
    model: Model,
    store: Store,
    *,
    rows: np.ndarray[Any, Any] | None = None,
    budget: int = TOKEN_BUDGET,
    max_rows: int | None = None,
    group: Alone | None = None,
) -> dict[str, dict[str, float]]:
    """Return ``loss`` of each output, of texts also ``perplexity``, and of ``combined`` the weighted sum.

    The sums of all micro-batches are divided by the sum of all weights: the mean over tokens (or rows), never the
    mean of batch means. An output's own loss is the mean over its own tokens; in the sum, those of all outputs
    together divide it, as in training. The module is put into evaluation mode for the time of the call. Processes of
    a ``group`` call this together, and each reads a part of the rows, which are by default all.

    Raises:
        OutOfMemoryError: If not even one row fits into memory.
    """
    import numpy as np
    import torch

    group = group or Alone()
    asked = np.arange(len(store)) if rows is None else rows
    mine = asked[group.part(len(asked))]
    sums, shared, own = (dict.fromkeys(model.importance, 0.0) for _ in range(3))
    training = model.module.training

    def run(places: np.ndarray[Any, Any]) -> None:
        batch = mine[places]
        # All of them before one is added: where memory runs out, the batch comes again in halves.
        losses = {name: float(loss) for name, loss in model.losses(store, batch).items()}
        for name, loss in losses.items():
            sums[name] += loss
        for total, weights in ((shared, model.weights(store, batch)), (own, model.own_weights(store, batch))):
            for name, weight in weights.items():
                total[name] += weight

    device = next(model.module.parameters()).device
    model.module.eval()
    with torch.inference_mode():
        in_batches(store.costs[mine], device, run, budget, max_rows=max_rows)
    model.module.train(training)
    sums, shared, own = (added(parts) for parts in zip(*group.gather((sums, shared, own)), strict=True))
    combined = sum(weight * _share(sums[name], shared[name]) for name, weight in model.importance.items())
    found = {"combined": {"loss": combined}}
    for output in model.outputs:
        loss = _share(sums[output.name], own[output.name])
        found[output.name] = {"perplexity": perplexity(loss)} if output.is_free else {}
        found[output.name]["loss"] = loss
    if not model.outputs:
        found["combined"]["perplexity"] = perplexity(combined)
    return found


def predictions(
    group: Alone, table: pd.DataFrame, predict: Callable[[pd.DataFrame], Mapping[str, Raw]]
) -> Mapping[str, Raw]:
    """Return predictions for all rows in all processes of a group, each of which predicts a part of them."""
    if len(table) < group.size:
        return predict(table)
    parts = group.gather(predict(table.iloc[group.part(len(table))]))
    return {name: interleaved([part[name] for part in parts]) for name in parts[0]}


def added(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the sums, by name, of numbers that several processes have."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def _share(total: float, weight: float) -> float:
    return total / weight if weight else math.nan


def perplexity(loss: float) -> float:
    """Return the exponential of a mean loss over tokens; infinite where no number can hold it."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
