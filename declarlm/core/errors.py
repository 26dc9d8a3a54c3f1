"""Errors a user can act on, and the wording they share.

Every message says what is wrong, where it is, and what would be right. All problems of a config are
reported at once, so that one run of ``declarlm validate`` is enough to fix a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from declarlm.core.document import Document


class DeclarlmError(Exception):
    """Base of every error that Declarlm raises on purpose.

    Attributes:
        exit_code: What the command line returns to the shell.
        path: Place in the config that names what is wrong, if the message does not say it yet.
    """

    exit_code: ClassVar[int] = 1
    path: str | None = None


class DataError(DeclarlmError, ValueError):
    """The table does not hold what the config says."""

    exit_code = 3

    def __init__(self, message: str, *, column: str | None = None, row: object = None) -> None:
        self.column, self.row = column, row
        place = ", ".join([f"column {column!r}"] * (column is not None) + [f"row {row}"] * (row is not None))
        super().__init__(f"{place}: {message}" if place else message)


class ModelError(DeclarlmError):
    """A model cannot be found, loaded or used."""

    exit_code = 2


class RefusedError(ModelError):
    """A model or a file asks for something unsafe, such as running its own code."""

    exit_code = 8


class RunError(DeclarlmError):
    """A run cannot go on."""


@contextmanager
def named_at(path: str) -> Iterator[None]:
    """Note which place in the config names the model, the run or the file that something is wrong with."""
    try:
        yield
    except (DataError, ModelError, RunError) as error:
        error.path = error.path or path
        raise


class DivergedError(RunError):
    """The loss or its gradient stayed non-finite; the last good weights are kept."""

    exit_code = 4


class OutOfMemoryError(RunError):
    """Not even the smallest micro-batch fits into memory."""

    exit_code = 5


class DiskError(RunError):
    """A file cannot be written."""

    exit_code = 6


class LockedError(RunError):
    """Another process works in the same run directory."""

    exit_code = 7


class DeclarlmWarning(UserWarning):
    """What a person should know although work goes on, such as rows that were cut."""


@dataclass(frozen=True)
class Problem:
    """One thing to fix.

    Attributes:
        path: Place in the config, written as in Python: ``input_features[0].encoder.size``.
        message: What is wrong, and what would be right.
        line: Line of the file, from 1, if the config came from a file.
    """

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(DeclarlmError, ValueError):
    """The config does not describe something that can be built.

    Attributes:
        source: File name or other origin of the config.
        problems: Everything that is wrong with it, in config order.
    """

    exit_code = 2

    def __init__(self, source: str | Document, problems: Iterable[Problem]) -> None:
        if isinstance(source, str):
            self.source, self.problems = source, list(problems)
            places = [f"{source}:{problem.line}" if problem.line else source for problem in self.problems]
        else:
            self.source = source.source
            self.problems = source.located(problems)
            places = [source.place(problem) for problem in self.problems]
        super().__init__("\n".join(f"{place}: {problem}" for place, problem in zip(places, self.problems, strict=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        return ConfigError, (self.source, self.problems)


# What other tools call it, where no spelling would lead there.
_ELSEWHERE = {
    "rank": "r",
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "lr": "learning_rate",
    "num_train_epochs": "epochs",
    "max_steps": "train_steps",
    "per_device_train_batch_size": "batch_size",
    "lr_scheduler_type": "learning_rate_scheduler",
    "warmup_ratio": "learning_rate_scheduler",
    "max_grad_norm": "gradient_clipping",
    "gradient_checkpointing": "enable_gradient_checkpointing",
    "max_length": "global_max_sequence_length",
    "max_seq_length": "global_max_sequence_length",
    "model": "base_model",
    "model_name_or_path": "base_model",
    "peft": "adapter",
    "random_seed": "seed",
    "float16": "fp16",
    "float32": "fp32",
    "instruction": "task",
    "sft": "finetune",
}


def choose_from(name: object, options: Iterable[str], meant: str | None = None) -> str:
    """Return the end of a message about a name that is not among ``options``.

    Args:
        name: The name.
        options: What it can be.
        meant: What was meant, if that is known; ``None`` looks for the nearest of the options.

    >>> choose_from("relo", ["gelu", "relu"])
    "'relo' (did you mean 'relu'?), choose from: gelu, relu"
    """
    options = sorted(options)
    if not options:
        return f"{name!r}, there are none to choose from"
    meant = meant or _nearest(str(name), options)
    hint = f" (did you mean {meant!r}?)" if meant else ""
    return f"{name!r}{hint}, choose from: {', '.join(options)}"


def _nearest(name: str, options: list[str]) -> str | None:
    """Return the option that a name is most like: other case, other spelling, or its beginning alone."""
    meant = _ELSEWHERE.get(name)
    if meant in options:
        return meant
    small = {option.lower(): option for option in options}
    if name.lower() in small:
        return small[name.lower()]
    if close := get_close_matches(name, options, n=1):
        return close[0]
    if close := get_close_matches(name.lower(), small, n=1):
        return small[close[0]]
    begun = [option for option in options if len(name) > 2 and option.lower().startswith(name.lower())]
    return min(begun, key=len, default=None)


def flatten(messages: Mapping[Any, Any] | list[str], path: str = "") -> list[Problem]:
    """Turn the nested messages of a marshmallow error into a flat list of problems."""
    if not isinstance(messages, Mapping):
        return [Problem(path, message) for message in messages]
    problems = []
    for key, value in messages.items():
        if key in ("_schema", ""):
            inner = path
        elif isinstance(key, int):
            inner = f"{path}[{key}]"
        else:
            inner = f"{path}.{key}" if path else str(key)
        problems += flatten(value, inner)
    return problems
