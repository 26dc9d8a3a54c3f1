"""Which of the parameters of a sweep mattered."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from declarlm.hyperopt.sweep import Sweep
    from declarlm.hyperopt.trial import Trial

FEWEST_TRIALS = 4


def importance(sweep: Sweep) -> dict[str, float]:
    """Return the share of each parameter in what the metric depends on, the largest first; empty for few trials.

    A random forest learns the metric from the values; how much worse it predicts when one column is shuffled is that
    parameter's importance (Breiman, "Random Forests", 2001, section 10).
    If trials were stopped early, all are compared by what they had reached when the first of them was. Parameters that
    follow another one are left out, and so are those with one value only.
    """
    import numpy as np

    trials = [trial for trial in sweep.trials if trial.value is not None and trial.state != "running"]
    spaces = {path: space for path, space in sweep.section.build_spaces().items() if not space.follows}
    columns = {path: _numbers([trial.values[path] for trial in trials]) for path in spaces}
    varied = {path: column for path, column in columns.items() if len(np.unique(column)) > 1}
    values = np.array([_compared(sweep, trials, trial) for trial in trials], dtype=float)
    if len(trials) < FEWEST_TRIALS or not varied or np.ptp(values) == 0:
        return {}
    found = _permuted(np.column_stack(list(varied.values())), values)
    total = float(found.sum()) or 1.0
    shares = {path: float(share) / total for path, share in zip(varied, found, strict=True)}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _compared(sweep: Sweep, trials: list[Trial], trial: Trial) -> float | None:
    """Return the value by which a trial is compared with those that were trained as long as the shortest was."""
    shortest = min((len(other.reports) for other in trials if other.state == "stopped"), default=0)
    reached = [report.value for report in trial.reports[:shortest] if not math.isnan(report.value)]
    return max(reached, key=lambda value: sweep.rules.sign * value, default=trial.value)


def _permuted(table: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return by how much shuffling each column spoils a forest's prediction of the values, ``(columns,)``."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(n_estimators=64, min_samples_leaf=1, max_features=1.0, random_state=0)
    forest.fit(table, values)
    found = permutation_importance(forest, table, values, n_repeats=16, random_state=0)
    return found.importances_mean.clip(min=0.0)  # type: ignore[no-any-return]


def _numbers(values: list[Any]) -> np.ndarray[Any, Any]:
    """Return values as numbers; those that are none by the place of their names in the alphabet."""
    import numpy as np

    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=float)
    names = [json.dumps(value, sort_keys=True, default=str) for value in values]
    return np.unique(names, return_inverse=True)[1].astype(float)
