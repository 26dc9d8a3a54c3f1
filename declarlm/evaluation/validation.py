"""The validation during training: what is measured after an epoch, and which number decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import ConfigError, Problem
from declarlm.core.errors import choose_from
from declarlm.evaluation.scores import mean_losses, measure
from declarlm.metrics import Prediction, canonical, evaluate, goal_of, metrics

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.features.base import OutputFeature, Raw
    from declarlm.models.base import Model, Store
    from declarlm.training.config import TrainerConfig

DEFAULT_METRIC = {"category": "accuracy", "binary": "roc_auc", "number": "rmse", "text": "loss"}
REHEARSED = 2  # rows of the evaluation before the first epoch


class Validation:
    """Measures a model on the validation rows; called by the trainer at each evaluation.

    Free text is only generated when one of its metrics decides; otherwise its loss is measured, which costs far
    less.

    Attributes:
        metric: Name of the deciding number: ``loss`` or ``<output>.<metric>``.
        goal: Whether a higher or a lower one is better.
        remarks: What a person should know about that choice.
    """

    def __init__(
        self,
        model: Model,
        store: Store,
        table: pd.DataFrame,
        config: TrainerConfig,
        predict: Callable[[Model, pd.DataFrame, list[OutputFeature]], Mapping[str, Raw]],
        training: Store | None = None,
    ) -> None:
        self.model, self.store, self.table, self._predict = model, store, table, predict
        self._training = training if config.evaluate_training_set else None
        self._max_rows = config.eval_batch_size if isinstance(config.eval_batch_size, int) else None
        self.metric, self.goal = deciding_metric([output.config for output in model.outputs], config)
        self.remarks: list[str] = []
        if len(table) and not self._is_defined():
            self.remarks = [f"{self.metric} is undefined on the validation rows, so their loss decides"]
            self.metric, self.goal = "loss", "minimize"
        self.predicted = [
            output
            for output in model.outputs
            if output.config.type != "text" or self.metric.startswith(f"{output.name}.")
        ]

    def _is_defined(self) -> bool:
        """Return whether the deciding metric is a number where all is predicted right, as one label's AUC is not."""
        import numpy as np

        field, _, metric = self.metric.rpartition(".")
        for output in self.model.outputs:
            if output.name == field:
                truth = list(output.truth(self.table[output.config.source]))
                shares = np.array([[float(label == value) for label in output.labels] for value in truth])
                perfect = Prediction(truth, shares, output.labels) if output.labels else Prediction(truth)
                return not math.isnan(evaluate(str(output.config.type), truth, perfect, [metric])[metric])
        return True

    def rehearse(self) -> None:
        """Evaluate the longest rows, and nothing else."""
        import numpy as np

        longest = np.argsort(-self.store.costs, kind="stable")[:REHEARSED]
        self.model.losses(self.store, longest)
        if self.predicted:
            self._predict(self.model, self.table.iloc[longest], self.predicted)

    def __call__(self) -> dict[str, float]:
        """Return ``loss`` and each metric as ``<output>.<metric>``, the deciding one before the others."""
        flat = mean_losses(self.model, self.store, max_rows=self._max_rows)
        if self._training is not None:
            training = mean_losses(self.model, self._training, max_rows=self._max_rows)
            flat["training.loss"] = training["loss"]
        if self.predicted:
            raws = self._predict(self.model, self.table, self.predicted)
            for name, values in measure(self.predicted, self.table, raws).items():
                flat.update({f"{name}.{metric}": value for metric, value in values.items()})
        return {name: flat[name] for name in ("loss", self.metric) if name in flat} | flat


def deciding_metric(outputs: Sequence[OutputFeature.Config], config: TrainerConfig) -> tuple[str, Any]:
    """Return the name of the number that decides which weights are best, and its goal.

    Raises:
        ConfigError: If ``validation_field`` or ``validation_metric`` names nothing that is measured.
    """
    names = {output.name: output for output in outputs}
    field, metric = config.validation_field, config.validation_metric
    if metric is not None and field is None and metric.rpartition(".")[0] in names:
        field, _, metric = metric.rpartition(".")
    if metric == "loss" or not outputs or (field in (None, "combined") and metric is None and len(outputs) > 1):
        return "loss", "minimize"
    field = field or _owner(outputs, metric)
    if field not in names:
        problem = f"no output feature is named {choose_from(field, names)}"
        raise ConfigError("config", [Problem("trainer.validation_field", problem)])
    kind = str(names[field].type)
    fitting = [name for name in metrics if kind in metrics[name].accepts]
    metric = canonical(metric or DEFAULT_METRIC.get(kind, "loss"))
    if metric == "loss":
        return "loss", "minimize"
    if metric not in fitting:
        problem = f"no {kind} metric is named {choose_from(metric, [*fitting, 'loss'])}"
        raise ConfigError("config", [Problem("trainer.validation_metric", problem)])
    return f"{field}.{metric}", goal_of(metric)


def _owner(outputs: Sequence[OutputFeature.Config], metric: str | None) -> str:
    """Return the first output that has the metric, or the first one."""
    known = canonical(metric or "")
    for output in outputs:
        if known in set(metrics) and output.type in metrics[known].accepts:
            return output.name
    return outputs[0].name
