"""The verb that searches: hyperopt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from declarlm.cli import options
from declarlm.cli.output import print_json, say
from declarlm.cli.work import go_offline, make_model

if TYPE_CHECKING:
    from declarlm.api.sweeping import HyperoptResult


def hyperopt(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of the config.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="File, glob or hf:// address of the rows.")] = None,
    validation: options.Validation = None,
    test: options.Test = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder in which the sweep gets its own.")] = Path(
        "runs"
    ),
    name: Annotated[
        str | None, typer.Option("--name", help="Name of that folder; by default that of the config.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the sweep in this folder.")
    ] = None,
    set_: options.Set = None,
    seed: options.Seed = None,
    device: options.Device = None,
    backend: options.Backend = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Search better values, as the hyperopt section says."""
    go_offline(offline)
    from declarlm.hyperopt.watching import Table

    watcher = None if quiet else Table()
    if resume is not None:
        changed = {"--config": config, "--set": set_, "--seed": seed, "--backend": backend, "--name": name}
        for flag, given in changed.items():
            if given:
                raise typer.BadParameter("a sweep goes on as it began; begin a new one to change it", param_hint=flag)
        from declarlm.api import resume_sweep

        rows = {"dataset": dataset, "validation": validation, "test": test}
        _report(resume_sweep(resume, **rows, device=device, watcher=watcher), as_json=as_json, quiet=quiet)
        return
    if config is None or dataset is None:
        missing = "--config" if config is None else "--dataset"
        raise typer.BadParameter("is required, or --resume DIR", param_hint=missing)
    model = make_model(config, options.changes(set_, seed=seed, backend=backend), device=device, quiet=quiet)
    named = name or re.sub(r"[^A-Za-z0-9_-]+", "_", config.stem)[:60] or "sweep"
    result = model.hyperopt(dataset, validation=validation, test=test, output=output, name=named, watcher=watcher)
    _report(result, as_json=as_json, quiet=quiet)


def _report(result: HyperoptResult, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json(
            {
                "directory": str(result.directory),
                "best": str(result.best_directory),
                "metric": result.metric,
                "goal": result.goal,
                "value": result.value,
                "values": result.values,
                "command": result.command,
            }
        )
    else:
        print(f"{result.metric} {result.value:.4f}")
        for path, value in result.values.items():
            print(f"  {path}: {value}")
    if not quiet:
        say(
            f"the sweep is in {result.directory}; its best run: declarlm predict {result.best_directory} --dataset FILE"
        )
        say(f"to train it again: {result.command}")
