"""What is chosen on the validation rows once a model is trained: temperatures and thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.features.labels import LabelOutput, at_temperature
from declarlm.metrics import canonical, evaluate, metrics
from declarlm.metrics.calibration import Bin, reliability

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.features.base import OutputFeature, Raw

# Where all validation rows are right, no temperature is low enough; one beyond these would say nothing.
COLDEST, HOTTEST = 0.05, 100.0
MOST_THRESHOLDS = 200


@dataclass(frozen=True)
class Tuned:
    """What was chosen for one output.

    Attributes:
        name: Name of the output.
        temperature: What its log-probabilities are divided by, None if they are not calibrated.
        threshold: Where its positive label begins, None if that was not asked.
        before: Reliability of the validation rows as the model gave them.
        after: The same with what was chosen.
    """

    name: str
    temperature: float | None
    threshold: float | None
    before: list[Bin]
    after: list[Bin]

    @property
    def remark(self) -> str:
        """What a person should know about it."""
        chosen = [f"temperature {self.temperature:.3g}"] if self.temperature is not None else []
        chosen += [f"threshold {self.threshold:.3g}"] if self.threshold is not None else []
        return f"{self.name}: {' and '.join(chosen)} fitted to the validation rows"


def tuned_outputs(outputs: list[OutputFeature]) -> list[LabelOutput]:
    """Return the outputs for which something is chosen on the validation rows."""
    return [output for output in outputs if isinstance(output, LabelOutput) and output.is_tuned]


def check_tunable(outputs: list[OutputFeature], validation: pd.DataFrame) -> None:
    """Refuse a table without validation rows where something must be chosen on them.

    Raises:
        DataError: With the output, and what to write instead.
    """
    for output in tuned_outputs(outputs) if not len(validation) else ():
        keys = ["calibration: true"] * output.config.calibration
        keys += ["threshold: auto"] * (getattr(output.config, "threshold", None) == "auto")
        raise DataError(
            f"{' and '.join(keys)} needs validation rows, and there are none; raise their share in "
            "preprocessing.split.probabilities, give a validation table, or leave it out",
            column=output.config.source,
        )


def tune(outputs: list[OutputFeature], table: pd.DataFrame, raws: Mapping[str, Raw]) -> list[Tuned]:
    """Choose temperatures and thresholds on validation rows, and keep them in the States of the outputs.

    Args:
        outputs: All outputs of a trained model.
        table: The validation rows.
        raws: What the model says about them, by output.

    Raises:
        DataError: If no validation row has a label that the model knows.
    """
    return [_tune(output, table, raws[output.name]) for output in tuned_outputs(outputs)]


def _tune(output: LabelOutput, table: pd.DataFrame, raw: Raw) -> Tuned:
    import numpy as np

    column, before = table[output.config.source], raw.probabilities
    targets = np.asarray(output.targets(column))
    known = np.flatnonzero(targets >= 0)
    if before is None or not known.size:
        raise DataError("has no label in the validation rows that training rows have too", column=output.config.source)
    if output.config.calibration:
        found = fit_temperature(before[known], targets[known])
        output.state = output.state.replace(temperature=found)
    if getattr(output.config, "threshold", None) == "auto":
        output.state = output.state.replace(threshold=_best_threshold(output, column, raw))
    truth, labels = output.truth(column), output.labels
    return Tuned(
        output.name,
        output.state.temperature,
        getattr(output.state, "threshold", None),
        reliability(truth, before, labels),
        reliability(truth, output.calibrated(before), labels),
    )


def fit_temperature(probabilities: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> float:
    """Return the temperature between ``COLDEST`` and ``HOTTEST`` at which the true labels are most probable.

    The loss has one minimum, as it is convex in 1 / temperature: Guo et al. 2017, section 4.2.

    Args:
        probabilities: Share of each label, ``float (rows, labels)``.
        targets: Number of each row's true label, ``int (rows,)``.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(targets))

    def loss(logarithm: float) -> float:
        shares = at_temperature(probabilities, float(np.exp(logarithm)))[rows, targets]
        return float(-np.log(np.clip(shares, np.finfo(np.float64).tiny, None)).mean())

    bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def _best_threshold(output: LabelOutput, column: pd.Series, raw: Raw) -> float:
    """Return the threshold at which the output's metric is best; of equally good ones that nearest to one half.

    Thresholds lie in the middle between two neighbouring probabilities, at most ``MOST_THRESHOLDS`` of them.
    """
    import numpy as np

    name = _threshold_metric(output)
    truth, state = output.truth(column), output.state
    shares = np.unique(output.calibrated(np.asarray(raw.probabilities))[:, 1])
    middles = [0.5, *((shares[1:] + shares[:-1]) / 2).tolist()]
    if len(middles) > MOST_THRESHOLDS:
        middles = [0.5, *np.quantile(middles[1:], np.linspace(0, 1, MOST_THRESHOLDS)).tolist()]
    scored = []
    for threshold in middles:
        output.state = state.replace(threshold=float(threshold))
        value = evaluate("binary", truth, output.metric_prediction(raw), [name])[name]
        scored.append((-value, abs(threshold - 0.5), float(threshold)))
    output.state = state
    return min(scored)[2]


def _threshold_metric(output: LabelOutput) -> str:
    named = map(canonical, output.config.metrics or [])
    return next((name for name in named if name in metrics and metrics[name].weighs_both), "f1")
