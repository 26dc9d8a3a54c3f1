"""Every trial is trained to its end."""

from __future__ import annotations

from declarlm.hyperopt.schedulers.base import NoTime, Scheduler, schedulers


@schedulers.register("fifo")
class Fifo(Scheduler):
    """Train every trial to its end, first in, first out."""

    stops = False

    class Config(NoTime):
        pass

    def judge(self, number: int, time: float, score: float) -> bool:
        return True
