"""Every trial is trained to its end."""

from __future__ import annotations

from declarlm.core import Section
from declarlm.hyperopt.schedulers.base import Scheduler, schedulers


@schedulers.register("fifo")
class Fifo(Scheduler):
    """Train every trial to its end, first in, first out."""

    stops = False

    class Config(Section):
        pass

    def judge(self, number: int, time: float, score: float) -> bool:
        return True
