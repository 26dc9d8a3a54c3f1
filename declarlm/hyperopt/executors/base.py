"""What every executor has in common: it runs the trials of a sweep until there are no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from declarlm.core import Registry, Section, param
from declarlm.hyperopt.schedulers import Scheduler, schedulers

if TYPE_CHECKING:
    from declarlm.hyperopt.sweep import Sweep
    from declarlm.hyperopt.trial import Launch

executors: Registry[Executor] = Registry("executor", package="declarlm.hyperopt.executors")


class Executor:
    """Run trials.

    Attributes:
        config: Its section.
        side_by_side: Whether trials run in processes of their own, several at a time.
    """

    side_by_side: ClassVar[bool] = False

    class Config(Section):
        num_samples: int | None = param(
            "Trials in all; null is 10. Of a grid: how often each point is tried, null is once.", default=None, min=1
        )
        time_budget_s: float | None = param(
            "Seconds after which no trial starts and those that run are stopped at their next evaluation.",
            default=None,
            above=0,
        )
        max_concurrent_trials: int | Literal["auto"] = param(
            "Trials at a time; auto is as many as the machine has room for.", default="auto", min=1
        )
        scheduler: Scheduler.Config = param(
            "Which trials are stopped before their end.", registry=schedulers, default="fifo"
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    def run(self, sweep: Sweep, launch: Launch) -> None:
        """Run the trials of a sweep until it has no more; each is started by ``launch``."""
        raise NotImplementedError


def why_stopped(sweep: Sweep) -> str:
    """Return why a trial that wanted to go on was stopped."""
    return "the time budget is used up" if sweep.is_over_budget else f"by {sweep.section.executor.scheduler.type}"
