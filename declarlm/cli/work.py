"""The verbs that train and use a model: train, resume, evaluate, predict."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from declarlm.cli import options
from declarlm.cli.output import print_comparison, print_json, print_metrics, say

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.api import DeclarLM, TrainResult
    from declarlm.training.progress import Progress


def train(
    config: options.Config,
    dataset: options.Dataset,
    validation: options.Validation = None,
    test: options.Test = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of runs.")] = Path("runs"),
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the run's directory; by default that of the config.")
    ] = None,
    set_: options.Set = None,
    seed: options.Seed = None,
    device: options.Device = None,
    backend: options.Backend = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Train a model and keep everything in a run directory."""
    from declarlm.run import NAME

    go_offline(offline)
    if name is not None and not NAME.fullmatch(name):
        raise typer.BadParameter("use up to 64 of A-Z a-z 0-9 . _ - and no dot in front", param_hint="--name")
    model = make_model(config, options.changes(set_, seed=seed, backend=backend), device=device, quiet=quiet)
    if model.config.hyperopt is not None and not quiet:
        say(f"{config}: its hyperopt section is for declarlm hyperopt; this trains once, with the config's own values")
    named = name or re.sub(r"[^A-Za-z0-9_-]+", "_", config.stem)[:60] or "run"
    result = model.train(
        dataset, validation=validation, test=test, output=output, name=named, progress=_progress(quiet)
    )
    _report(result, as_json=as_json, quiet=quiet)


def resume(
    run: options.Run,
    dataset: Annotated[str | None, typer.Option("--dataset", help="The same rows, if they have moved.")] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="The same for a validation set of its own.")
    ] = None,
    test: Annotated[str | None, typer.Option("--test", help="The same for a test set of its own.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Refuse a run of another config.")] = None,
    device: options.Device = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Go on with a training that was interrupted."""
    go_offline(offline)
    from declarlm.api import resume_training

    _check_config(run, config)
    given = {"dataset": dataset, "validation": validation, "test": test}
    _report(resume_training(run, **given, device=device, progress=_progress(quiet)), as_json=as_json, quiet=quiet)


def evaluate(
    run: options.Ready,
    dataset: options.Dataset,
    output: options.Predictions = None,
    compare: Annotated[
        Literal["base"] | None, typer.Option("--compare", help="Put the base model beside the tuned one.")
    ] = None,
    general: Annotated[
        str | None, typer.Option("--general", help="With --compare: text on which to measure what was forgotten.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="With --compare: answers to show.")] = 5,
    set_: options.SetGeneration = None,
    seed: options.SeedOfDrawing = None,
    device: options.Device = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Measure a model on rows whose answers are known."""
    go_offline(offline)
    _check_output(output, dataset)
    if general is not None and compare is None:
        raise typer.BadParameter("is for --compare base", param_hint="--general")
    if output is not None and compare is not None:
        raise typer.BadParameter("write predictions without --compare", param_hint="--output")
    generation = _generation(set_)
    model, rows = _opened(run, dataset, device, with_outputs=True)
    generation = _seeded(model, generation, seed)
    if compare is not None:
        found = model.compare(rows, general=general, samples=samples, generation=generation)
        print_json(found.dump()) if as_json else print_comparison(found)
        return
    result = model.evaluate(rows, generation=generation)
    if as_json:
        print_json({"metrics": result.metrics})
    else:
        print_metrics({"evaluation": result.metrics})
    if output is not None:
        _write(result.predictions, output, quiet=quiet)


def predict(
    run: options.Ready,
    dataset: options.Dataset,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout by default.")] = None,
    set_: options.SetGeneration = None,
    seed: options.SeedOfDrawing = None,
    device: options.Device = None,
    backend: options.Backend = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    offline: options.Offline = False,
) -> None:
    """Predict the rows of a table."""
    go_offline(offline)
    _check_output(output, dataset)
    generation = _generation(set_)
    model, rows = _opened(run, dataset, device, backend=backend)
    with _warnings_said():
        predictions = model.predict(rows, generation=_seeded(model, generation, seed))
    if output is not None:
        _write(predictions, output, quiet=quiet)
    elif as_json:
        from declarlm.data.write import records

        print_json(records(predictions))
    else:
        from declarlm.data.write import write_csv

        write_csv(predictions, sys.stdout)


def make_model(
    config: Path, changes: Sequence[str] | None, *, device: str | None = None, quiet: bool = False
) -> DeclarLM:
    """Return the model of a config file, having said what was understood of old spellings."""
    from declarlm.api import DeclarLM

    model = DeclarLM(config, overrides=changes, device=device)
    for note in () if quiet else model.document.notes:
        say(f"{config}: {note}")
    return model


def go_offline(offline: bool) -> None:
    """Keep the Hub's client from making a call; it reads this when it is first imported."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _opened(
    run: Path, dataset: str, device: str | None, *, backend: str | None = None, with_outputs: bool = False
) -> tuple[DeclarLM, pd.DataFrame]:
    """Return the model of a run, or of a config that needs none, and rows for it.

    The rows are judged first, since loading weights takes longer.
    """
    from declarlm.api import DeclarLM
    from declarlm.config import load_config
    from declarlm.core import RunError
    from declarlm.data.tables import read_table, require_columns
    from declarlm.run import open_run

    is_config = run.is_file() and run.suffix in (".yaml", ".yml")
    config = load_config(run if is_config else open_run(run).directory / "config.resolved.yaml")
    if is_config and config.objective.trains:
        raise RunError(f"{run} is the config of a model that must be trained: declarlm train -c {run}")
    table = read_table(dataset, missing_values=config.preprocessing.missing_values)
    config.build().check_columns(table)
    require_columns(table, [feature.source for feature in config.output_features if with_outputs])
    if is_config:
        return DeclarLM(run, overrides=[f"backend={backend or 'local'}"], device=device), table
    return DeclarLM.load(run, device=device, backend=backend or "local"), table


def _generation(changes: Sequence[str] | None) -> dict[str, Any]:
    """Return the keys of the generation section that ``--set`` changes."""
    from declarlm.core import ConfigError, Problem
    from declarlm.core.document import Document
    from declarlm.core.overrides import override
    from declarlm.inference.generation import Generation

    document = override(Document({"generation": {}}), changes or [], keys=["generation"])
    changed: dict[str, Any] = document.data["generation"]
    problems = list(document.problems)
    try:
        Generation.load(changed)
    except ConfigError as error:
        problems += [Problem(f"generation.{problem.path}", problem.message) for problem in error.problems]
    if problems:
        raise ConfigError(document, problems)
    return changed


def _seeded(model: DeclarLM, generation: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """Return how text is decoded with a seed for what is drawn; encoders with heads draw nothing."""
    return generation if seed is None or model.config.model_type == "ecd" else {**generation, "seed": seed}


def _check_config(run: Path, config: Path | None) -> None:
    """Refuse a config file that says something else than the config of a run."""
    from declarlm.config import load_config
    from declarlm.run import open_run

    if config is not None:
        open_run(run).check_config(load_config(config).dump())


def _check_output(output: Path | None, dataset: str) -> None:
    """Refuse a file that cannot be written, or that the rows come from, before the work is done."""
    from declarlm.core import DataError
    from declarlm.data.write import check_target

    try:
        if output is not None:
            check_target(output, dataset)
    except DataError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from None


def _write(predictions: Any, output: Path, *, quiet: bool) -> None:
    from declarlm.data.write import write_table

    write_table(predictions, output)
    if not quiet:
        say(f"{len(predictions)} predictions are in {output}")


@contextmanager
def _warnings_said() -> Iterator[None]:
    """Say what is wrong with some rows without a place in the code, which is nothing to somebody at a shell."""
    from declarlm.core import DeclarlmWarning

    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_or_say(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, DeclarlmWarning):
                say(str(message))
            else:
                show(message, category, *place, **more)

        warnings.simplefilter("always", DeclarlmWarning)
        warnings.showwarning = show_or_say
        yield


def _progress(quiet: bool) -> Progress:
    from declarlm.training.progress import Lines, Quiet

    return Quiet() if quiet else Lines()


def _report(result: TrainResult, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        print_json({"directory": str(result.directory), "metrics": result.metrics})
    elif any(result.metrics.values()):
        print_metrics(result.metrics)
    if not quiet:
        say(f"the run is in {result.directory}; next: declarlm predict {result.directory} --dataset FILE")
