"""The page of a sweep: one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from declarlm.hyperopt.report import charts
from declarlm.hyperopt.report.scales import shown

if TYPE_CHECKING:
    from declarlm.hyperopt.sweep import Sweep


def page(sweep: Sweep, *, config: str, command: str, importance: Mapping[str, float]) -> str:
    """Return the page.

    Args:
        sweep: The sweep.
        config: YAML of the best trial's config.
        command: What trains it again.
        importance: Share of each parameter.
    """
    from jinja2 import Environment, PackageLoader

    metric, sign, best = sweep.rules.metric, sweep.rules.sign, sweep.best
    ended = [trial for trial in sweep.trials if trial.state != "running"]
    shapes = {path: space.shape for path, space in sweep.section.build_spaces().items() if not space.follows}
    scored = any(trial.value is not None for trial in ended)
    states = ("finished", "stopped", "failed")
    found = {state: sum(trial.state == state for trial in ended) for state in states}
    environment = Environment(autoescape=True, loader=PackageLoader("declarlm.hyperopt", "report"))
    return environment.get_template("page.html").render(
        name=sweep.folder.resolve().name,
        metric=metric,
        split=sweep.section.split,
        goal="highest" if sign > 0 else "lowest",
        counts=", ".join(f"{count} {state}" for state, count in found.items() if count) + " trials",
        minutes=f"{sum(trial.seconds for trial in ended) / 60:.1f} minutes of training",
        best=None if best is None else {"value": shown(best.value), "number": best.number, "name": best.name},
        command=command,
        config=config,
        progress=charts.best_so_far(ended, sign, metric) if scored else "",
        importance=charts.bars(importance) if importance else "",
        each=[charts.against(ended, path, shape, metric) for path, shape in shapes.items()] if scored else [],
        parallel=charts.parallel(ended, shapes, sign, metric) if scored else "",
        paths=list(sweep.section.parameters),
        rows=[_row(sweep, trial, best) for trial in sweep.trials],
    )


def _row(sweep: Sweep, trial: Any, best: Any) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": "" if trial.value is None else shown(trial.value),
        "cells": [shown(trial.values[path]) for path in sweep.section.parameters],
        "seconds": f"{trial.seconds:.1f}",
        "why": trial.message.split("\n")[0],
        "top": trial is best,
    }
