"""What every scheduler has in common: it judges a trial after each evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from declarlm.core import Problem, Registry, Section, param
from declarlm.hyperopt.spaces import Space

if TYPE_CHECKING:
    import numpy as np

schedulers: Registry[Scheduler] = Registry("trial scheduler", package="declarlm.hyperopt.schedulers")

TimeAttribute = Literal["training_iteration", "epoch", "step", "time_total_s"]


@dataclass(frozen=True)
class Move:
    """What becomes of a trial in the next generation.

    Attributes:
        number: Number of the trial.
        donor: Number of the trial whose training it goes on with.
        values: The values with which it does, by path.
    """

    number: int
    donor: int
    values: dict[str, Any]


class NoTime(Section):
    """What the sections of all schedulers can do; those that judge by time extend ``Scheduler.Config``."""

    def check_parameters(self, spaces: Mapping[str, Space.Config]) -> Iterable[Problem]:
        """Yield a problem for each parameter that this scheduler cannot work with."""
        return ()


class Scheduler:
    """Judge trials while they train.

    It learns of trials only by ``judge``, and its verdict depends on nothing but what it was told before, in this
    order: so a search that is told its past again goes on as if it had never stopped.

    Attributes:
        config: Its section.
        stops: Whether it ever stops a trial.
        generational: Whether all trials pause after some evaluations, until it has made the next generation of them.
    """

    stops: ClassVar[bool] = True
    generational: ClassVar[bool] = False

    class Config(NoTime):
        time_attr: TimeAttribute = param(
            "What counts as time: evaluations, epochs, optimizer steps, or seconds.", default="training_iteration"
        )

    def __init__(self, config: Any) -> None:
        self.config = config

    def judge(self, number: int, time: float, score: float) -> bool:
        """Return whether a trial goes on.

        Args:
            number: Number of the trial.
            time: How far it is, in units of ``time_attr``.
            score: Its metric now, the higher the better.
        """
        raise NotImplementedError

    def evolve(
        self,
        scores: Mapping[int, float],
        samples: Mapping[int, Mapping[str, Any]],
        spaces: Mapping[str, Space],
        generator: np.random.Generator,
    ) -> list[Move]:
        """Return what changes in the next generation; a trial without a move goes on as it is.

        Args:
            scores: Metric of each trial that paused, by number, the higher the better.
            samples: Its values.
            spaces: The searched parameters, without those that follow another one.
            generator: Where all that is random comes from.
        """
        raise NotImplementedError
