"""A sweep: asks the searcher, hears the trials, obeys the scheduler, and writes everything down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from declarlm.core import ConfigError, Problem
from declarlm.hyperopt.ledger import Ledger
from declarlm.hyperopt.schedulers.base import Move
from declarlm.hyperopt.searchers import Outcome
from declarlm.hyperopt.section import Hyperopt
from declarlm.hyperopt.trial import Report, Task, Trial, TrialState

CHECKED = 500  # samples that are checked before the first trial, milliseconds each
TIMES: Mapping[str, Callable[[Report], float]] = {
    "training_iteration": lambda report: report.evaluation,
    "epoch": lambda report: report.epoch,
    "step": lambda report: report.step,
    "time_total_s": lambda report: report.seconds,
}


class Watcher(Protocol):
    """Who looks at a sweep while it runs."""

    def show(self, sweep: Sweep) -> None:
        """Show how it stands; called after every event."""
        ...

    def watching(self) -> AbstractContextManager[None]:
        """Return a block for the length of which it is shown."""
        ...


@dataclass(frozen=True)
class Rules:
    """What a sweep is told by the config as a whole.

    Attributes:
        metric: Name of the number that counts.
        sign: 1 if a high one is good, else -1.
        seed: Seed of what is drawn.
        complete: Adds to a sample the values that follow from it.
        problems: Returns what is wrong with the config that a sample makes.
    """

    metric: str
    sign: int
    seed: int
    complete: Callable[[Mapping[str, Any]], dict[str, Any]]
    problems: Callable[[Mapping[str, Any]], list[Problem]]


class Sweep:
    """The trials of one search, and what is to be done next.

    Its state is a function of the ledger: made anew in the same folder, it stands where it stood.

    Attributes:
        folder: Where everything about it lies; trials are the runs in ``trials/``.
        trials: All trials so far, by number.
        rules: What the config as a whole tells it.
    """

    def __init__(self, folder: Path, section: Hyperopt, rules: Rules, watcher: Watcher | None = None) -> None:
        self.folder, self.section, self.rules = folder, section, rules
        self.trials: list[Trial] = []
        spaces = {path: space for path, space in section.build_spaces().items() if not space.follows}
        executor = section.executor
        self.searcher = section.search_alg.build(spaces, seed=rules.seed, num_samples=executor.num_samples)
        self.scheduler = executor.scheduler.build()
        self.ledger = Ledger(folder)
        self.watcher = watcher
        self._stopped: set[int] = set()
        self._began = time.monotonic()
        self._started: dict[int, float] = {}
        self._spaces = spaces
        self.ledger.replay(asked=self._recall, reported=self._hear, ended=self._end, evolved=self._evolve)
        self._waiting = [trial for trial in self.trials if trial.state == "running"]
        self._spent = sum(trial.seconds for trial in self.trials)

    def check(self) -> None:
        """Refuse samples that make no valid config, of the first hundreds that are known before any trial has run.

        Raises:
            ConfigError: With what is wrong with each.
        """
        found: dict[tuple[str, str], Problem] = {}
        for sample in islice(self.searcher.known(), CHECKED):
            for problem in self.rules.problems(self.rules.complete(sample)):
                found.setdefault((problem.path, problem.message), problem)
        if found:
            raise ConfigError("config", list(found.values()))

    @property
    def num_trials(self) -> int:
        """Number of trials in all."""
        return int(self.searcher.num_trials)

    @property
    def is_over_budget(self) -> bool:
        """Whether the time budget is used up."""
        budget = self.section.executor.time_budget_s
        return budget is not None and self.seconds >= budget

    @property
    def seconds(self) -> float:
        """Time spent so far, that of earlier sessions included as far as trials took it."""
        return self._spent + time.monotonic() - self._began

    def next(self) -> Trial | None:
        """Return the next trial to run, one that waits before a new one; none if there is none, now or ever."""
        if self.is_over_budget:
            return None
        if not self._waiting and len(self.trials) == self.num_trials:
            self._begin_generation()
        if self._waiting:
            trial = self._waiting.pop(0)
        elif len(self.trials) < self.num_trials:
            number = len(self.trials)
            trial = Trial(number, self.rules.complete(self.searcher.ask(number)))
            self.trials.append(trial)
            self.ledger.asked(trial)
        else:
            return None
        self._started[trial.number] = time.monotonic()
        self._show()
        return trial

    @property
    def is_exhausted(self) -> bool:
        """Whether no trial will ever be started again."""
        if self.is_over_budget:
            return True
        is_full = not self._waiting and len(self.trials) == self.num_trials
        comes_back = self.scheduler.generational and any(trial.state in ("running", "paused") for trial in self.trials)
        return is_full and not comes_back

    def task(self, trial: Trial) -> Task:
        """Return what is to be done for a trial."""
        runs = self.folder / "trials"
        pause = None
        if self.scheduler.generational:
            pause = (trial.generation + 1) * self.scheduler.config.perturbation_interval
        return Task(trial.values, runs / trial.name, runs / trial.origin if trial.origin else None, pause)

    def close(self) -> None:
        """Stop the trials that wait for a generation which will not come."""
        for trial in self.trials:
            if trial.state == "paused":
                self.end(trial, "stopped", message="the time budget is used up")

    def judge(self, trial: Trial, report: Report) -> bool:
        """Take note of a trial's report and return whether it goes on; one that was heard before changes nothing."""
        if report.is_final:
            self.end(trial, "finished", report.value)
            return False
        if trial.number in self._stopped:
            return False
        if any(known.evaluation == report.evaluation for known in trial.reports):
            return True
        goes_on = self._hear(trial.number, report)
        self.ledger.reported(trial, report, goes_on=goes_on)
        if report.pauses:
            trial.seconds += time.monotonic() - self._started.pop(trial.number)
        self._show()
        return goes_on and not self.is_over_budget

    def end(self, trial: Trial, state: TrialState, value: float | None = None, message: str = "") -> None:
        """Take note of how a trial ended."""
        seconds = trial.seconds + time.monotonic() - self._started.get(trial.number, time.monotonic())
        if state == "finished" and (value is None or math.isnan(value)):
            state, message = "failed", f"{self.rules.metric} is not a number on the {self.section.split} rows"
        if state == "stopped":
            value = self._best_value(trial)
        self._end(trial.number, state, None if state == "failed" else value, seconds, message)
        self.ledger.ended(trial)
        self._show()

    @property
    def best(self) -> Trial | None:
        """The best trial that was trained to its end, the first of equal ones; else the best of the others."""
        scored = [
            trial for trial in self.trials if trial.value is not None and trial.state not in ("running", "paused")
        ]
        finished = [trial for trial in scored if trial.state == "finished"]
        return max(finished or scored, key=self._score, default=None)

    def _score(self, trial: Trial) -> float:
        return self.rules.sign * (trial.value if trial.value is not None else math.nan)

    def _best_value(self, trial: Trial) -> float | None:
        values = [report.value for report in trial.reports if not math.isnan(report.value)]
        return max(values, key=lambda value: self.rules.sign * value, default=None)

    def _recall(self, number: int, values: dict[str, Any]) -> None:
        self.trials.append(Trial(number, values))
        self.searcher.recall(number, values)

    def _hear(self, number: int, report: Report, known: bool | None = None) -> bool:
        """Tell the scheduler of a report; ``known`` is its verdict, if it is heard again."""
        self.trials[number].reports.append(report)
        if report.pauses:
            self.trials[number].state = "paused"
            self.trials[number].generation += 1
            return False
        goes_on = True
        if self.scheduler.stops and not self.scheduler.generational and not math.isnan(report.value):
            passed = TIMES[self.scheduler.config.time_attr](report)
            goes_on = self.scheduler.judge(number, passed, self.rules.sign * report.value)
        goes_on = goes_on or report.step >= report.total  # there is nothing left to save
        verdict = goes_on if known is None else known
        if not verdict:
            self._stopped.add(number)
        return verdict

    def _begin_generation(self) -> None:
        """Make the next generation, if all trials of this one have paused or ended."""
        import numpy as np

        paused = [trial for trial in self.trials if trial.state == "paused"]
        if not paused or any(trial.state == "running" for trial in self.trials):
            return
        moves = self.scheduler.evolve(
            {trial.number: self.rules.sign * trial.reports[-1].value for trial in paused},
            {trial.number: trial.values for trial in paused},
            self._spaces,
            np.random.default_rng([self.rules.seed, paused[0].generation]),
        )
        moves = [replace(move, values=self.rules.complete(move.values)) for move in moves]
        self.ledger.evolved(moves)
        self._evolve(moves)
        self._waiting = [trial for trial in self.trials if trial.state == "running"]

    def _evolve(self, moves: list[Move]) -> None:
        """Let all paused trials go on, some of them from where others are."""
        donors = {move.donor: (self.trials[move.donor].name, list(self.trials[move.donor].reports)) for move in moves}
        for move in moves:
            trial = self.trials[move.number]
            trial.origin, trial.reports = donors[move.donor][0], list(donors[move.donor][1])
            trial.values, trial.moves = move.values, trial.moves + 1
        for trial in self.trials:
            if trial.state == "paused":
                trial.state = "running"

    def _end(self, number: int, state: TrialState, value: float | None, seconds: float, message: str) -> None:
        trial = self.trials[number]
        trial.state, trial.value, trial.seconds, trial.message = state, value, seconds, message
        score = None if value is None else self.rules.sign * value
        self.searcher.tell(number, Outcome(score, len(trial.reports), is_complete=state == "finished"))

    def _show(self) -> None:
        if self.watcher is not None:
            self.watcher.show(self)
