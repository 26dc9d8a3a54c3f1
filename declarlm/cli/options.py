"""The options that several verbs share, and those that every verb takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

Backend = Annotated[
    str | None,
    typer.Option("--backend", help="Where it runs: local, ray, or a section as in '{type: ray, num_workers: 4}'."),
]
Config = Annotated[Path, typer.Option("--config", "-c", help="YAML file of the config.")]
Dataset = Annotated[str, typer.Option("--dataset", help="File, glob or hf:// address of the rows.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:1; by default a GPU if there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Make no network call.")]
Predictions = Annotated[Path | None, typer.Option("--output", "-o", help="File for the predictions.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but results and errors.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)]
Ready = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="Run directory, or config file of a model that needs no training.", show_default=False
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of every random choice.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change the config, as in adapter.r=8; repeatable."),
]
SeedOfDrawing = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of text that is drawn at random.")]
SetGeneration = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change generation, as in generation.num_beams=4."),
]
Test = Annotated[str | None, typer.Option("--test", help="Rows that judge the result.")]
Validation = Annotated[str | None, typer.Option("--validation", help="Rows that decide which weights are best.")]


def changes(set_: list[str] | None, **others: object) -> list[str]:
    """Return what ``--set`` changes, and after it what options of their own change."""
    return [*(set_ or []), *(f"{path}={value}" for path, value in others.items() if value is not None)]


EVERYWHERE = {"set_": Set, "as_json": Json, "quiet": Quiet, "offline": Offline, "seed": Seed, "device": Device}


def everywhere(verb: Callable[..., None], refused: dict[str, str]) -> Callable[..., None]:
    """Return a verb that also takes the options of every verb that it has no use for.

    They are not in its help and change nothing, but those that somebody would expect to change something: they are
    ``refused``, each with a sentence that says what to do instead.
    """
    own = inspect.signature(verb, eval_str=True)
    added = {name: option for name, option in EVERYWHERE.items() if name not in own.parameters}

    @wraps(verb)
    def command(**given: Any) -> None:
        for name in added:
            value = given.pop(name)
            if name in refused and value is not None and value != []:
                raise typer.BadParameter(refused[name], param_hint=f"--{name.rstrip('_')}")
        verb(**given)

    parameters = [*own.parameters.values(), *(_hidden(name, option) for name, option in added.items())]
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _hidden(name: str, option: Any) -> inspect.Parameter:
    (declared,) = option.__metadata__
    hidden = copy(declared)
    hidden.hidden = True
    default = False if option.__origin__ is bool else None
    annotation = Annotated[option.__origin__, hidden]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
