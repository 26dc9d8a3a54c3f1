"""What every scheduler has in common: it judges a trial after each evaluation."""

from __future__ import annotations

from typing import ClassVar, Literal

from declarlm.core import Registry, Section, param

schedulers: Registry[Scheduler] = Registry("trial scheduler", package="declarlm.hyperopt.schedulers")

TimeAttribute = Literal["training_iteration", "epoch", "step", "time_total_s"]


class Scheduler:
    """Judge trials while they train.

    It learns of trials only by ``judge``, and its verdict depends on nothing but what it was told before, in this
    order: so a search that is told its past again goes on as if it had never stopped.

    Attributes:
        config: Its section.
        stops: Whether it ever stops a trial.
    """

    stops: ClassVar[bool] = True

    class Config(Section):
        time_attr: TimeAttribute = param(
            "What counts as time: evaluations, epochs, optimizer steps, or seconds.", default="training_iteration"
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    def judge(self, number: int, time: float, score: float) -> bool:
        """Return whether a trial goes on.

        Args:
            number: Number of the trial.
            time: How far it is, in units of ``time_attr``.
            score: Its metric now, the higher the better.
        """
        raise NotImplementedError
