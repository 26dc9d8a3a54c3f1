"""One trial: the values that it tries, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

TrialState = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Report:
    """What a trial says of itself after an evaluation, or, at the end, of its final model.

    Attributes:
        evaluation: Evaluations so far, this one included.
        step: Optimizer steps so far.
        total: Optimizer steps in all.
        epoch: Passes over the training rows so far.
        seconds: Training time so far.
        value: The metric that counts; NaN if it is undefined.
        is_final: Whether the trial is trained, saved and measured.
    """

    evaluation: int
    step: int
    total: int
    epoch: float
    seconds: float
    value: float
    is_final: bool = False


@dataclass
class Trial:
    """One trial of a sweep.

    Attributes:
        number: Its number, from 0.
        values: The values that it tries, by path.
        state: ``stopped`` by a scheduler or the time budget, before its end.
        reports: Its evaluations.
        value: The metric that counts: of the final model, or the best one until it was stopped.
        message: Why it did not finish.
        seconds: Time that it took.
    """

    number: int
    values: dict[str, Any]
    state: TrialState = "running"
    reports: list[Report] = field(default_factory=list)
    value: float | None = None
    message: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of its run directory."""
        return f"trial_{self.number:04d}"


# Starts or resumes the run of a trial in a directory, given its values, and yields after each evaluation.
Launch: TypeAlias = Callable[[Mapping[str, Any], Path], Iterator[Report]]
