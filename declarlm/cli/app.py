"""The command line as a whole: its verbs and its exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from declarlm.cli import before, options, sweep, work
from declarlm.cli.ludwig import translated
from declarlm.cli.output import say
from declarlm.core.errors import DeclarlmError

app = typer.Typer(
    name="declarlm",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERBS: dict[str, Callable[..., None]] = {
    "init": before.init,
    "validate": before.validate,
    "import": before.import_config,
    "schema": before.schema,
    "list": before.list_plugins,
    "preview": before.preview,
    "train": work.train,
    "hyperopt": sweep.hyperopt,
    "resume": work.resume,
    "evaluate": work.evaluate,
    "predict": work.predict,
}
_NO_CONFIG = {"set_": "there is no config to change here"}
REFUSED = {
    "init": {"set_": "edit the file that is written"},
    "import": {"set_": "edit the file that is written"},
    "schema": _NO_CONFIG,
    "list": _NO_CONFIG,
    "resume": {
        "set_": "a training goes on with the config that it began with; train a new run to change it",
        "seed": "a training goes on with the seed that it began with; train a new run to change it",
    },
}
for name, verb in VERBS.items():
    app.command(name)(options.everywhere(verb, REFUSED.get(name, {})))


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"declarlm {version('declarlm')}")
        raise typer.Exit


@app.callback()
def declarlm(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Fine-tune language models and text encoders on tables, by a config alone."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the exit code tells what kind of error there was."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # What the next program reads is UTF-8, whatever the locale says.
            stream.reconfigure(errors="backslashreplace", encoding=None if stream.isatty() else "utf-8")
    try:
        app(args=translated(sys.argv[1:] if arguments is None else arguments), prog_name="declarlm")
    except DeclarlmError as error:
        say(str(error))
        sys.exit(error.exit_code)
