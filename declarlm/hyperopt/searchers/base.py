"""What every searcher has in common: it is asked for the values of a trial, and told what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from declarlm.core import Problem, Registry, Section
from declarlm.hyperopt.spaces import Space

searchers: Registry[Searcher] = Registry("searcher", package="declarlm.hyperopt.searchers")

Sample = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        score: Its metric, the higher the better; none if it failed.
        step: Evaluations made.
        is_complete: Whether it was trained to its end.
    """

    score: float | None
    step: int
    is_complete: bool


class Searcher:
    """Choose the values of each trial.

    The values of the ``n``-th trial depend on the seed, on ``n``, and on what was asked and told before, in this
    order, and on nothing else: so a search that is told its past again goes on as if it had never stopped.

    Attributes:
        config: Its section.
        spaces: The searched parameters by path, without those that follow another one.
        seed: Seed of all that is drawn.
        num_samples: Trials that are asked for; none if the config does not say.
    """

    class Config(Section):
        def check_spaces(self, spaces: Mapping[str, Space.Config]) -> Iterable[Problem]:
            """Yield a problem for each space that this searcher cannot search."""
            return ()

    def __init__(
        self, config: Config, spaces: Mapping[str, Space], *, seed: int, num_samples: int | None = None
    ) -> None:
        self.config, self.spaces, self.seed, self.num_samples = config, spaces, seed, num_samples

    @property
    def num_trials(self) -> int:
        """Number of trials in all."""
        return self.num_samples or 10

    def ask(self, number: int) -> Sample:
        """Return the values of a trial; trials are asked for from 0, one after another."""
        raise NotImplementedError

    def recall(self, number: int, sample: Sample) -> None:
        """Take note that a trial was asked for earlier, and got this sample."""

    def tell(self, number: int, outcome: Outcome) -> None:
        """Take note of what became of a trial."""

    def known(self) -> Iterable[Sample]:
        """Return the samples of all trials, if they do not depend on what becomes of any."""
        return ()


def refuse(spaces: Mapping[str, Space.Config], lacking: Iterable[str], remedy: str) -> Iterable[Problem]:
    """Yield a problem for each parameter whose space is one of those that are lacking."""
    for path, space in spaces.items():
        if space.type in set(lacking):
            yield Problem(f"parameters.{path}.space", f"{space.type!r} {remedy}")
