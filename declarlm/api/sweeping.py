"""A sweep from rows to the best model: what a trial is, where it lies, and what is left in the end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.api.model import DeclarLM
from declarlm.api.result import TrainResult
from declarlm.config import find_problems, trial_document, with_followers
from declarlm.core import ConfigError, DataError, DeclarlmError, Problem, RunError
from declarlm.core.device import find_device
from declarlm.core.document import Document
from declarlm.core.files import lock, read_json, remove_leftovers, write_json
from declarlm.data.parts import read_parts
from declarlm.hyperopt.report import command, trial_table, write_report
from declarlm.hyperopt.section import Hyperopt
from declarlm.hyperopt.sweep import Rules, Sweep, Watcher
from declarlm.hyperopt.trial import Report, Task
from declarlm.run import Run, make_folder, open_run
from declarlm.training.interrupts import StoppedError
from declarlm.training.progress import Silent

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("dataset", "validation", "test")


@dataclass(frozen=True, eq=False)
class HyperoptResult:
    """What a sweep left.

    Attributes:
        directory: The sweep's folder.
        trials: A row for each trial: number, state, value, seconds, directory, and a column for each parameter.
        metric: Name of the number that counts.
        goal: Whether a low or a high one is good.
        values: The values of the best trial, by path.
        value: Its metric.
        best_directory: Its run directory.
        command: What trains its config again.
    """

    directory: Path
    trials: pd.DataFrame
    metric: str
    goal: str
    values: dict[str, Any]
    value: float
    best_directory: Path
    command: str
    _device: str | None = field(repr=False, default=None)

    @property
    def best(self) -> TrainResult:
        """The best trial, its model loaded."""
        run = open_run(self.best_directory)
        metrics = read_json(run.directory / "results.json")
        return TrainResult(run.directory, metrics, run.history(), DeclarLM.load(run.directory, device=self._device))


@dataclass(frozen=True, eq=False)
class Launcher:
    """Starts trials; it can be sent to another process.

    Attributes:
        written: The config before completion, with its section ``hyperopt``.
        rows: Path or table by role: dataset, validation, test.
        metric: Name of the number that counts, as evaluations call it.
        split: The rows on which trials are compared.
        device: Where trials run.
    """

    written: Mapping[str, Any]
    rows: Mapping[str, Any]
    metric: str
    split: str
    device: str | None = None

    def __call__(self, task: Task) -> Iterator[Report]:
        """Train a trial, or go on with one that was interrupted, and yield after each evaluation and at the end."""
        resume = _resumable(task.directory)
        if resume is not None and resume.status.state == "finished":
            yield self._final(resume)
            return
        begun = resume or (Run(task.origin) if task.origin is not None else None)
        past = begun.evaluations() if begun is not None else []
        for place, line in enumerate(past, 1):
            yield self._report(place, line)
        document, _ = trial_document(Document(self.written), task.values)
        steps = DeclarLM(document.data, device=self.device).steps(
            **self.rows, **_where(task, resume), progress=Silent()
        )
        for place, evaluation in enumerate(steps, len(past) + 1):
            report = self._report(place, vars(evaluation))
            if task.pause_after is not None and place >= task.pause_after and report.step < report.total:
                steps.close()
                yield replace(report, pauses=True)
                return
            yield report
        yield self._final(open_run(task.directory))

    def _report(self, place: int, evaluation: Mapping[str, Any]) -> Report:
        value = evaluation["metrics"].get(self.metric)
        return Report(
            evaluation=place,
            step=evaluation["step"],
            total=evaluation["total"],
            epoch=evaluation["epoch"],
            seconds=evaluation["seconds"],
            value=float("nan") if value is None else float(value),
        )

    def _final(self, run: Run) -> Report:
        """Return what the finished run's model reaches on the rows that count."""
        metrics = read_json(run.directory / "results.json").get(self.split, {})
        output, _, name = self.metric.rpartition(".")
        value = metrics.get(output or "combined", {}).get(name)
        last = (run.evaluations() or [{"step": 0, "total": 0, "epoch": 0.0, "seconds": 0.0}])[-1]
        return Report(
            evaluation=len(run.evaluations()) + 1,
            step=last["step"],
            total=last["total"],
            epoch=last["epoch"],
            seconds=last["seconds"],
            value=float("nan") if value is None else float(value),
            is_final=True,
        )


def _where(task: Task, resume: Run | None) -> dict[str, Any]:
    """Return where a trial trains: on in its run, or in a new one, perhaps from where another trial is."""
    if resume is not None:
        return {"resume": task.directory}
    return {"output": task.directory.parent, "name": task.directory.name, "origin": task.origin}


def _resumable(directory: Path) -> Run | None:
    """Return the run of a trial that was interrupted; what stopped before its training began is removed."""
    if not directory.exists():
        return None
    run = Run(directory)
    if run.status.state == "created":
        shutil.rmtree(directory)
        return None
    if run.status.state != "finished":
        run.check_resumable()
    return run


def begin_sweep(
    model: DeclarLM, rows: Mapping[str, Any], *, output: Path, name: str, watcher: Watcher | None
) -> HyperoptResult:
    """Search the best values of parameters on ``rows`` by role: see ``DeclarLM.hyperopt``."""
    section = _section(model)
    sources = _check_rows(model, rows, section)
    rules = _rules(model, section)
    folder = make_folder(output, name)
    try:
        with lock(folder / ".lock"):
            sweep = Sweep(folder, section, rules, watcher)
            _place(model, sweep.check)
            write_json(
                folder / "sweep.json", {"config": model.written.data, "sources": sources, "device": model.device}
            )
            return _run(model, sweep, rows)
    except BaseException:
        if not (folder / "ledger.jsonl").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def resume_sweep(
    folder: str | Path,
    *,
    dataset: Any = None,
    validation: Any = None,
    test: Any = None,
    device: str | None = None,
    watcher: Watcher | None = None,
) -> HyperoptResult:
    """Go on with a sweep that was interrupted, on the same rows; no trial that has ended is repeated.

    Args:
        folder: The sweep's folder.
        dataset: The same rows, if they are not where they were.
        validation: Likewise for a validation set of its own.
        test: Likewise for a test set of its own.
        device: As for ``DeclarLM``.
        watcher: Who looks on.

    Raises:
        DataError: If the rows cannot be found, or are others than those that the sweep began with.
        RunError: If the folder is no sweep.
    """
    folder = Path(folder)
    if not (folder / "sweep.json").is_file():
        raise RunError(f"{folder} is no sweep: it has no file sweep.json; give the folder that hyperopt named")
    saved = read_json(folder / "sweep.json")
    model = DeclarLM(saved["config"], device=device or saved["device"])
    section = _section(model)
    given = {"dataset": dataset, "validation": validation, "test": test}
    for role, source in saved["sources"].items():
        if given[role] is None and source["path"] is None:
            raise DataError(f"the {role} rows of {folder} were a table in memory; give them again")
        given[role] = source["path"] if given[role] is None else given[role]
    sources = _check_rows(model, given, section)
    for role in {**sources, **saved["sources"]}:
        if sources.get(role, {}).get("sha256") != saved["sources"].get(role, {}).get("sha256"):
            raise DataError(f"the {role} rows are not those that {folder} began with; give the same, or begin anew")
    with lock(folder / ".lock"):
        remove_leftovers(folder)
        return _run(model, Sweep(folder, section, _rules(model, section), watcher), given)


def _run(model: DeclarLM, sweep: Sweep, rows: Mapping[str, Any]) -> HyperoptResult:
    """Run the trials that are left, and write what was found, also if somebody interrupts it."""
    section = sweep.section
    launcher = Launcher(_decided(model, sweep.rules), rows, sweep.rules.metric, section.split, model.device)
    if section.executor.plugin.side_by_side and find_device(model.device) == "cpu":
        model.config.build().share()
    try:
        watching = nullcontext() if sweep.watcher is None else sweep.watcher.watching()
        with watching, model.config.backend.build().opened():
            section.executor.build().run(sweep, launcher)
            sweep.close()
    except (KeyboardInterrupt, StoppedError):
        ended = sum(trial.state not in ("running", "paused") for trial in sweep.trials)
        told = f"stopped after {ended} of {sweep.num_trials} trials"
        raise StoppedError(f"{told}; go on with: declarlm hyperopt --resume {sweep.folder}") from None
    finally:
        if sweep.trials:
            write_report(sweep, lambda values: trial_document(Document(launcher.written), values)[0].data, rows)
    best = sweep.best
    if best is None or best.value is None:
        raise SweepError(_causes(sweep))
    return HyperoptResult(
        directory=sweep.folder,
        trials=trial_table(sweep),
        metric=sweep.rules.metric,
        goal="maximize" if sweep.rules.sign > 0 else "minimize",
        values=best.values,
        value=best.value,
        best_directory=sweep.folder / "trials" / best.name,
        command=command(sweep.folder / "best.yaml", rows),
        _device=model.device,
    )


def _section(model: DeclarLM) -> Hyperopt:
    if model.config.hyperopt is None:
        example = "parameters: {adapter.r: {space: choice, categories: [4, 8, 16]}}"
        raise ConfigError(model.document, [Problem("hyperopt", f"is missing; write hyperopt with {example}")])
    return model.config.hyperopt


def _check_rows(model: DeclarLM, rows: Mapping[str, Any], section: Hyperopt) -> dict[str, Any]:
    """Refuse rows that no trial could use, and return where they come from."""
    built = model.config.build()
    parts = read_parts(
        *(rows[role] for role in ROLES),
        preprocessing=model.config.preprocessing,
        features=[*built.inputs, *built.outputs],
        seed=model.config.seed,
    )
    if not len(getattr(parts.tables, section.split)):
        raise DataError(f"trials are compared on the {section.split} rows, and there are none; give some to the split")
    _place(model, lambda: built.learn(parts.tables.train, *parts.tables.held_out))
    return parts.sources


def _place(model: DeclarLM, check: Any) -> None:
    """Give file and line to what a check finds wrong with the config."""
    try:
        check()
    except ConfigError as error:
        raise (ConfigError(model.document, error.problems) if error.source == "config" else error) from None


def _rules(model: DeclarLM, section: Hyperopt) -> Rules:
    metric, goal = section.measured(model.config.output_features, model.config.trainer)
    spaces = section.build_spaces()
    return Rules(
        metric=metric,
        sign=1 if goal == "maximize" else -1,
        seed=model.config.seed,
        complete=lambda sample: with_followers(sample, spaces),
        problems=lambda sample: find_problems(model.written, sample),
    )


def _decided(model: DeclarLM, rules: Rules) -> dict[str, Any]:
    """Return the config as written, with the metric that counts deciding which weights of a trial are best."""
    data = dict(model.written.data)
    trainer = data.get("trainer")
    trainer = {"type": trainer} if isinstance(trainer, str) else dict(trainer or {})
    if trainer.get("validation_metric") is None and trainer.get("validation_field") is None:
        trainer["validation_metric"] = rules.metric
    return {**data, "trainer": trainer}


class SweepError(DeclarlmError):
    """All trials of a sweep failed."""

    exit_code = 4


def _causes(sweep: Sweep) -> str:
    """Return why no trial has a result, each reason once with the trials that it stopped."""
    if not sweep.trials:
        return f"{sweep.folder}: the time budget was used up before the first trial"
    causes: dict[str, list[str]] = {}
    for trial in sweep.trials:
        causes.setdefault(trial.message.split("\n")[0] or trial.state, []).append(str(trial.number))
    told = "\n".join(f"  trials {', '.join(numbers)}: {cause}" for cause, numbers in causes.items())
    return f"{sweep.folder}: none of {len(sweep.trials)} trials has a result\n{told}"
