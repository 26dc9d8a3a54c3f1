"""The files: ``hyperopt.json``, ``trials.csv``, ``best.yaml``, ``report.html``."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.core.files import write_json, write_text
from declarlm.core.yaml_text import yaml_text
from declarlm.hyperopt.report.importance import importance
from declarlm.hyperopt.report.page import page

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.hyperopt.sweep import Sweep


def write_report(
    sweep: Sweep, config_of: Callable[[Mapping[str, Any]], Mapping[str, Any]], rows: Mapping[str, Any]
) -> None:
    """Write all that a person or a program may want to know about a sweep.

    Args:
        sweep: The sweep, at its end or where it was interrupted.
        config_of: Returns the config of the trial that tries some values.
        rows: Path or table by role.
    """
    best = sweep.best
    config = "" if best is None else yaml_text(config_of(best.values))
    again = command(sweep.folder / "best.yaml", rows)
    shares = importance(sweep)
    if best is not None:
        write_text(sweep.folder / "best.yaml", config)
    write_text(sweep.folder / "report.html", page(sweep, config=config, command=again, importance=shares))
    write_json(
        sweep.folder / "hyperopt.json",
        {
            "metric": sweep.rules.metric,
            "goal": "maximize" if sweep.rules.sign > 0 else "minimize",
            "split": sweep.section.split,
            "hyperopt": sweep.section.dump(),
            "best": None if best is None else best.number,
            "command": None if best is None else again,
            "importance": shares,
            "trials": [
                {
                    "number": trial.number,
                    "state": trial.state,
                    "parameters": trial.values,
                    "metric_score": trial.value,
                    "seconds": round(trial.seconds, 3),
                    "directory": f"trials/{trial.name}",
                    "message": trial.message,
                    "evaluations": [vars(report) for report in trial.reports],
                }
                for trial in sweep.trials
            ],
        },
    )
    table = trial_table(sweep)
    text = io.StringIO()
    table.to_csv(text, index=False, quoting=csv.QUOTE_MINIMAL)
    write_text(sweep.folder / "trials.csv", text.getvalue())


def trial_table(sweep: Sweep) -> pd.DataFrame:
    """Return a row for each trial: number, state, value, seconds, evaluations, directory, and each parameter."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "number": trial.number,
                "state": trial.state,
                "value": trial.value,
                "seconds": round(trial.seconds, 3),
                "evaluations": len(trial.reports),
                "directory": f"trials/{trial.name}",
                **trial.values,
            }
            for trial in sweep.trials
        ]
    )


def command(config: Path, rows: Mapping[str, Any]) -> str:
    """Return the command that trains a config on the rows of the sweep."""
    given = {role: source for role, source in rows.items() if source is not None}
    parts = ["declarlm", "train", "-c", str(config)]
    for role, source in given.items():
        parts += [f"--{role}", str(source) if isinstance(source, str | Path) else "FILE"]
    return shlex.join(parts)
