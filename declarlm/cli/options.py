"""The options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Option("--config", "-c", help="YAML file of the config.")]
Dataset = Annotated[str, typer.Option("--dataset", help="File, glob or hf:// address of the rows.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda or cuda:1; by default a GPU if there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Make no network call.")]
Predictions = Annotated[Path | None, typer.Option("--output", "-o", help="File for the predictions.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but results and errors.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", show_default=False)]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of every random choice.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change the config, as in adapter.r=8; repeatable."),
]
Test = Annotated[str | None, typer.Option("--test", help="Rows that judge the result.")]
Validation = Annotated[str | None, typer.Option("--validation", help="Rows that decide which weights are best.")]
