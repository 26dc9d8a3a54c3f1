"""One trial: the values that it tries, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

TrialState = Literal["running", "paused", "finished", "stopped", "failed"]


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
        pauses: Whether the trial has closed its run here, to go on in the next generation.
    """

    evaluation: int
    step: int
    total: int
    epoch: float
    seconds: float
    value: float
    is_final: bool = False
    pauses: bool = False


@dataclass
class Trial:
    """One trial of a sweep.

    Attributes:
        number: Its number, from 0.
        values: The values that it tries, by path.
        state: ``stopped`` by a scheduler or the time budget, before its end; ``paused`` between generations.
        reports: Its evaluations.
        value: The metric that counts: of the final model, or the best one until it was stopped.
        message: Why it did not finish.
        seconds: Time that it took.
        generation: Generations that it has trained in.
        moves: How often it went on from another trial.
        origin: Name of the run directory that it went on from last.
    """

    number: int
    values: dict[str, Any]
    state: TrialState = "running"
    reports: list[Report] = field(default_factory=list)
    value: float | None = None
    message: str = ""
    seconds: float = 0.0
    generation: int = 0
    moves: int = 0
    origin: str | None = None

    @property
    def name(self) -> str:
        """The name of its run directory; each move begins a new one."""
        return f"trial_{self.number:04d}" + (f"_{self.moves}" if self.moves else "")


@dataclass(frozen=True)
class Task:
    """What is to be done for a trial; plain data, for any process.

    Attributes:
        values: The values that it tries, by path.
        directory: Its run directory.
        origin: Run directory that its training starts from, if it is not to start anew.
        pause_after: Evaluations after which it pauses, if it does.
    """

    values: Mapping[str, Any]
    directory: Path
    origin: Path | None = None
    pause_after: int | None = None


# Starts the run of a trial, or goes on with it, and yields after each evaluation.
Launch: TypeAlias = Callable[[Task], Iterator[Report]]
