"""The run directory: everything about one training, self-contained and relocatable.

========================  ================================================================
``config.yaml``           the config as given
``config.resolved.yaml``  the config with every default, which alone makes the run again
``environment.json``      versions of Python and of the packages, machine, device
``data.json``             where the rows came from, hashes, counts, and what was cut
``features.json``         what the features learned from the training rows
``model/``                weights, tokenizer, prompt
``checkpoints/``          what training goes on from
``metrics.jsonl``         each evaluation and a sample of the steps
``events/``               the same for TensorBoard
``results.json``          metrics by split, output and metric, of the final model
``calibration.html``      how far probabilities can be believed, where they were calibrated
``predictions/``          tables of predictions
``README.md``             the model card
``STATUS``                what became of the run, and why
========================  ================================================================
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from declarlm.core import DataError, RunError
from declarlm.core.document import differences
from declarlm.core.errors import DiskError
from declarlm.core.files import (
    lock,
    read_json,
    read_json_lines,
    remove_leftovers,
    unlisted,
    verify_folder,
    write_json,
    write_text,
)
from declarlm.core.strict_yaml import read_yaml
from declarlm.core.yaml_text import yaml_text
from declarlm.run.card import Card

if TYPE_CHECKING:
    import pandas as pd

State = Literal["created", "training", "finished", "failed", "interrupted", "stopped"]

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
PACKAGES = (
    *("declarlm", "torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors", "tokenizers"),
    *("numpy", "pandas", "pyarrow", "scikit-learn", "marshmallow", "jinja2"),
)
INTERRUPTED = 130  # the exit code of errors that mean somebody stopped the run


@dataclass(frozen=True)
class Status:
    """What became of a run.

    Attributes:
        state: ``created`` before the first step, then ``training``, then one of the four ends; ``stopped`` if who
            asked for the training wanted no more of it. A run that was killed stays ``training``.
        message: Why it ended, if not well.
    """

    state: State
    message: str = ""


class Run:
    """One run directory.

    Attributes:
        directory: Where it lies. Nothing in it names this place, so it can be moved.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.directory.name

    @property
    def model(self) -> Path:
        """Folder of the trained model."""
        return self.directory / "model"

    @property
    def status(self) -> Status:
        """What became of the run; ``created`` if nothing was written down yet.

        Raises:
            RunError: If ``STATUS`` is damaged.
        """
        path = self.directory / "STATUS"
        if not path.exists():
            return Status("created")
        first, _, message = path.read_text(encoding="utf-8").partition("\n")
        if first not in get_args(State):
            raise RunError(f"{path} is damaged: it says {first!r}")
        return Status(cast(State, first), message.strip())

    def mark(self, state: State, message: str = "") -> None:
        """Write down what became of the run."""
        write_text(self.directory / "STATUS", f"{state}\n{message}".strip() + "\n")

    def write_config(self, given: str | Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
        """Write the config as given, text or data, and as resolved."""
        write_text(self.directory / "config.yaml", given if isinstance(given, str) else yaml_text(given))
        write_text(self.directory / "config.resolved.yaml", yaml_text(resolved))

    def take_config(self, origin: Run) -> None:
        """Take over the complete config of another run."""
        path = origin.directory / "config.resolved.yaml"
        write_text(self.directory / "config.resolved.yaml", path.read_text(encoding="utf-8"))

    def write_environment(self, device: str) -> None:
        """Write what the run depends on beside config and data; no names of users or machines."""
        write_json(
            self.directory / "environment.json",
            {
                "python": platform.python_version(),
                "system": f"{platform.system()} {platform.machine()}",
                "processors": os.cpu_count(),
                "device": device,
                "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
            },
        )

    def write_data(self, data: Mapping[str, Any]) -> None:
        """Write where the rows came from."""
        write_json(self.directory / "data.json", data)

    def write_features(self, states: Mapping[str, Any]) -> None:
        """Write what the features learned."""
        write_json(self.directory / "features.json", states)

    def write_results(self, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of the final model."""
        write_json(self.directory / "results.json", metrics)

    def write_reliability(self, page: str) -> None:
        """Write the page that shows how far probabilities can be believed."""
        write_text(self.directory / "calibration.html", page)

    def write_card(self, card: Card) -> None:
        """Write the model card."""
        write_text(self.directory / "README.md", card.text())

    def read(self, name: Literal["environment", "data", "features"]) -> Any:
        """Return what was written under a name.

        Raises:
            RunError: If it is missing or damaged.
        """
        return read_json(self.directory / f"{name}.json")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``."""
        return read_json_lines(self.directory / "metrics.jsonl")

    def evaluations(self) -> list[dict[str, Any]]:
        """Return what each evaluation during training found."""
        return [line for line in self.metrics() if line["kind"] == "evaluation"]

    def history(self) -> pd.DataFrame:
        """Return one row for each evaluation during training."""
        import pandas as pd

        return pd.json_normalize(self.evaluations())

    def adopt(self, origin: Run) -> None:
        """Take over the checkpoints and the past of another run, to go on from there."""
        shutil.copytree(origin.directory / "checkpoints", self.directory / "checkpoints")
        shutil.copyfile(origin.directory / "metrics.jsonl", self.directory / "metrics.jsonl")

    def check_resumable(self) -> None:
        """Check that there is training left to do here.

        Raises:
            RunError: If there is none, or what it needs was not written yet.
        """
        written = all((self.directory / name).is_file() for name in ("config.resolved.yaml", "data.json"))
        if self.status.state == "finished" or not written:
            found = "stopped before its training began" if not written else "is finished"
            raise RunError(f"{self.directory} {found}; there is nothing to resume")

    def check_config(self, config: Mapping[str, Any]) -> None:
        """Check that a config, complete, is the one that training began with; it may run elsewhere now.

        Raises:
            RunError: With all that differs.
        """
        began = {**read_yaml(self.directory / "config.resolved.yaml").data, "backend": config["backend"]}
        changes = list(differences(began, config))
        if changes:
            raise RunError(f"{self.directory} began with another config: {'; '.join(changes)}; train a new run")

    def check_sources(self, sources: Mapping[str, Any]) -> None:
        """Check that rows, described as in ``data.json``, are those that training began with.

        Raises:
            DataError: If a hash differs.
        """
        before = self.read("data")["sources"]
        for role in {**before, **sources}:
            if before.get(role, {}).get("sha256") != sources.get(role, {}).get("sha256"):
                remedy = "give the same rows, or train a new run"
                raise DataError(f"the {role} rows are not those that {self.directory} began with; {remedy}")

    def prediction_path(self, name: str) -> Path:
        """Return where to write predictions: ``test.csv`` is ``predictions/test.csv``.

        Raises:
            RunError: If the name would leave the folder.
        """
        return self.directory / "predictions" / _check_name(name)

    def verify(self) -> None:
        """Check that a model can be loaded from here.

        Raises:
            RunError: If a part is missing or was changed.
        """
        for path in (self.directory / "config.resolved.yaml", self.directory / "features.json", self.model):
            if not path.exists():
                state = self.status.state
                raise RunError(f"{self.directory} holds no trained model: {path.name} is missing, status {state!r}")
        if not verify_folder(self.model):
            raise RunError(f"{self.model} is damaged: a file does not match its manifest; copy the run again")
        if added := unlisted(self.model):
            raise RunError(f"{self.model} holds {added[0]}, which was not saved with it; remove that file")


@contextmanager
def create_run(output: Path, name: str) -> Iterator[Run]:
    """Make ``output/name``, or ``name_2`` and so on if that exists, and hold its lock for the block.

    A run that fails before it is marked as training leaves nothing behind.

    Raises:
        RunError: If the name is not allowed.
    """
    _check_name(name)
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    run = Run(make_folder(output, name))
    try:
        with _working(run):
            run.mark("created")
            yield run
    except BaseException:
        if run.status.state == "created":
            shutil.rmtree(run.directory, ignore_errors=True)
            with suppress(OSError):
                for folder in made:
                    folder.rmdir()
        raise


def open_run(directory: Path) -> Run:
    """Return the run in a directory.

    Raises:
        RunError: If the directory is no run.
    """
    if not (directory / "STATUS").is_file():
        missing = "is no run: it has no file STATUS" if directory.is_dir() else "does not exist"
        problem = "is a file" if directory.is_file() else missing
        raise RunError(f"{directory} {problem}; give the directory that training named")
    return Run(directory)


@contextmanager
def resume_run(directory: Path) -> Iterator[Run]:
    """Open a run and hold its lock for the block.

    Raises:
        RunError: If the directory is no run, or nothing is left to do in it.
        LockedError: If another process works in it.
    """
    run = open_run(directory)
    with _working(run):
        run.check_resumable()
        remove_leftovers(run.directory)
        yield run


@contextmanager
def _working(run: Run) -> Iterator[None]:
    """Hold the run's lock, and write down how training ends if not well."""
    with lock(run.directory / ".lock"):
        try:
            yield
        except BaseException as error:
            if run.status.state == "training":
                run.mark(_end_by(error), "" if isinstance(error, GeneratorExit) else f"{type(error).__name__}: {error}")
            raise


def _end_by(error: BaseException) -> State:
    """Return what became of a run that an error ended; who asks a generator for no more closes it."""
    if isinstance(error, GeneratorExit):
        return "stopped"
    interrupted = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", 1) == INTERRUPTED
    return "interrupted" if interrupted else "failed"


def make_folder(output: Path, name: str) -> Path:
    """Make the first of ``name``, ``name_2``, ... that is free; two processes never get the same one."""
    for number in count(1):
        folder = output / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise DiskError(f"{folder} cannot be made: {error.strerror}") from None
        return folder
    raise AssertionError("numbers do not end")


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r} cannot be a name; use up to 64 of A-Z a-z 0-9 . _ - and no dot in front")
    return name


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
