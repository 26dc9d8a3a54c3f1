"""The validation during training: what is measured after an epoch, and which number decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import ConfigError, Problem
from declarlm.core.errors import choose_from
from declarlm.evaluation.scores import TOKEN_BUDGET, mean_losses, measure, predictions
from declarlm.metrics import Prediction, canonical, evaluate, goal_of, metrics, of_the_loss
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.features.base import OutputFeature, Raw
    from declarlm.models.base import Model, Store
    from declarlm.training.config import TrainerConfig

DEFAULT_METRIC = {
    "category": "accuracy",
    "binary": "roc_auc",
    "number": "rmse",
    "text": "loss",
    "json": "loss",
    "sequence": "entity_f1",
    "set": "jaccard",
    "vector": "rmse",
}


class Validation:
    """Measures a model on the validation rows; called by the trainer at each evaluation.

    Free text is only generated when one of its metrics decides; otherwise its loss is measured, which costs far
    less.

    Attributes:
        metric: Name of the deciding number: ``loss``, ``perplexity`` or ``<output>.<metric>``.
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
        group: Alone | None = None,
        losses: Callable[..., dict[str, dict[str, float]]] = mean_losses,
    ) -> None:
        self.model, self.store, self.table, self._predict = model, store, table, predict
        self._group, self._losses = group or Alone(), losses
        self._training = training if config.evaluate_training_set else None
        self._max_rows = config.eval_batch_size if isinstance(config.eval_batch_size, int) else None
        self.metric, self.goal = deciding_metric([output.config for output in model.outputs], config)
        self.remarks: list[str] = []
        if len(table) and not self._is_defined():
            self.remarks = [f"{self.metric} is undefined on the validation rows, so their loss decides"]
            self.metric, self.goal = "loss", "minimize"
        self.predicted = [output for output in model.outputs if not output.is_free or self._decides(output)]

    def _decides(self, output: OutputFeature) -> bool:
        """Return whether a metric of this output's predictions decides."""
        field, _, metric = self.metric.rpartition(".")
        return field == output.name and metric not in of_the_loss(str(output.config.type))

    def _is_defined(self) -> bool:
        """Return whether the deciding metric is a number where all is predicted right, as one label's AUC is not."""
        import numpy as np

        metric = self.metric.rpartition(".")[2]
        for output in self.model.outputs:
            if self._decides(output):
                truth = list(output.truth(self.table[output.config.source]))
                shares = np.array([[float(label == value) for label in output.labels] for value in truth])
                perfect = Prediction(truth, shares, output.labels) if output.labels else Prediction(truth)
                return not math.isnan(evaluate(str(output.config.type), truth, perfect, [metric])[metric])
        return True

    def rehearse(self) -> None:
        """Evaluate the longest rows, as many as go through the model at once, and nothing else."""
        import numpy as np

        costs = self.store.costs
        size = max(1, TOKEN_BUDGET // max(1, int(costs.max())))
        longest = np.argsort(-costs, kind="stable")[: min(size, self._max_rows or size)]
        self._losses(self.model, self.store, rows=longest, max_rows=self._max_rows)
        if self.predicted and len(self.table):
            self._predict(self.model, self.table.iloc[longest[longest < len(self.table)]], self.predicted)

    def __call__(self) -> dict[str, float]:
        """Return ``loss`` and each metric as ``<output>.<metric>``, the deciding one before the others."""
        losses = self._losses(self.model, self.store, max_rows=self._max_rows, group=self._group)
        flat = dict(losses.pop("combined"))
        if self._training is not None:
            training = self._losses(self.model, self._training, max_rows=self._max_rows, group=self._group)
            flat["training.loss"] = training["combined"]["loss"]
        measured: dict[str, dict[str, float]] = {}
        if self.predicted and len(self.table):
            raws = predictions(self._group, self.table, lambda table: self._predict(self.model, table, self.predicted))
            field, _, metric = self.metric.rpartition(".")
            measured = measure(self.predicted, self.table, raws, also=(field, metric))
        for name, values in losses.items():
            found = {**measured.get(name, {}), **values}
            flat.update({f"{name}.{metric}": value for metric, value in found.items()})
        return {name: flat[name] for name in ("loss", self.metric)} | flat


def deciding_metric(outputs: Sequence[OutputFeature.Config], config: TrainerConfig) -> tuple[str, Any]:
    """Return the name of the number that decides which weights are best, and its goal.

    Raises:
        ConfigError: If ``validation_field`` or ``validation_metric`` names nothing that is measured.
    """
    names = {output.name: output for output in outputs}
    field, metric = config.validation_field, config.validation_metric
    own = config.decides(outputs) if metric is None and field is None else metric
    if own is not None and own in config.measures:
        return own, config.measures[own]
    if metric is not None and field is None and metric.rpartition(".")[0] in names:
        field, _, metric = metric.rpartition(".")
    if not outputs:
        if metric not in (None, "loss", "perplexity"):
            problem = f"without outputs no metric is named {choose_from(metric, ['loss', 'perplexity'])}"
            raise ConfigError("config", [Problem("trainer.validation_metric", problem)])
        return metric or "loss", "minimize"
    if field in (None, "combined") and (metric == "loss" or (metric is None and len(outputs) > 1)):
        return "loss", "minimize"
    chosen = field or _owner(outputs, metric)
    if chosen not in names:
        problem = f"no output feature is named {choose_from(chosen, names)}"
        raise ConfigError("config", [Problem("trainer.validation_field", problem)])
    kind = str(names[chosen].type)
    fitting = [*(name for name in metrics if kind in metrics[name].accepts), *of_the_loss(kind)]
    metric = metric or DEFAULT_METRIC.get(kind, "loss")
    if metric == "loss" and field is None:
        return "loss", "minimize"
    if canonical(metric) not in fitting:
        problem = f"no {kind} metric is named {choose_from(metric, fitting)}"
        raise ConfigError("config", [Problem("trainer.validation_metric", problem)])
    return f"{chosen}.{metric}", goal_of(metric)


def _owner(outputs: Sequence[OutputFeature.Config], metric: str | None) -> str:
    """Return the first output that has the metric, or the first one."""
    known = canonical(metric or "")
    for output in outputs:
        if known in of_the_loss(str(output.type)) or (known in set(metrics) and output.type in metrics[known].accepts):
            return output.name
    return outputs[0].name
