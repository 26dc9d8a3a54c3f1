"""What every schedule has in common: the warm-up."""

from __future__ import annotations

import math

from declarlm.core import Registry, Section, param

schedules: Registry[Schedule] = Registry("schedule", package=__package__)


class Schedule:
    """Scale the learning rate, as a function of the step alone.

    The rate rises in equal parts over the first ``warmup`` steps, reaches its highest value right after them,
    and then follows ``decay``. It is never zero at the first step, which would be a wasted one.
    """

    class Config(Section):
        warmup_fraction: float = param(
            "Share of all optimizer steps over which the learning rate rises.", default=0.03, min=0, max=1
        )

    def __init__(self, config: Config, total_steps: int) -> None:
        self.total_steps = total_steps
        # 0.07 * 100 is a little more than 7.
        self.warmup = math.ceil(config.warmup_fraction * total_steps - 1e-9)

    def factor(self, step: int) -> float:
        """Return the share of the highest learning rate that step ``step`` (from 0) uses."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return self.decay((step - self.warmup) / max(1, self.total_steps - self.warmup), step - self.warmup)

    def decay(self, progress: float, step: int) -> float:
        """Return the factor ``step`` steps after the warm-up, when ``progress`` (0 to 1) of the rest is done."""
        raise NotImplementedError
