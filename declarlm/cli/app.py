"""The command line as a whole: its verbs, Ludwig's spellings of its flags, and its exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import typer

from declarlm.cli import before, work
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
    "schema": before.schema,
    "list": before.list_plugins,
    "preview": before.preview,
    "train": work.train,
    "resume": work.resume,
    "evaluate": work.evaluate,
    "predict": work.predict,
}
for name, verb in VERBS.items():
    app.command(name)(verb)

# What people who come from Ludwig type. An empty name makes the value an argument: --model_path RUN is RUN.
LUDWIG_FLAGS = {
    "--training_set": "--dataset",
    "--validation_set": "--validation",
    "--test_set": "--test",
    "--output_directory": "--output",
    "-od": "--output",
    "--experiment_name": "--name",
    "--model_name": "--name",
    "--random_seed": "--seed",
    "-rs": "--seed",
    "--model_path": "",
    "-m": "",
    "--model_resume_path": "",
    "-mrp": "",
    "--base_model": "--base-model",
}


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
        app(args=list(_translated(sys.argv[1:] if arguments is None else arguments)), prog_name="declarlm")
    except DeclarlmError as error:
        say(str(error))
        sys.exit(error.exit_code)


def _translated(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments with Ludwig's flags replaced."""
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag not in LUDWIG_FLAGS:
            yield argument
        elif LUDWIG_FLAGS[flag]:
            yield LUDWIG_FLAGS[flag] + equals + value
        elif equals:
            yield value
