"""The schedules of the field, each a formula."""

from __future__ import annotations

import math

from declarlm.core import param
from declarlm.training.schedules.base import Schedule, schedules


@schedules.register("constant")
class Constant(Schedule):
    """Keep the learning rate as it is after the warm-up."""

    def decay(self, progress: float, step: int) -> float:
        return 1.0


@schedules.register("linear")
class Linear(Schedule):
    """Lower the learning rate to zero in a straight line."""

    def decay(self, progress: float, step: int) -> float:
        return 1.0 - progress


@schedules.register("cosine")
class Cosine(Schedule):
    """Lower the learning rate to zero along half a cosine.

    Source: Loshchilov and Hutter, "SGDR", 2016, https://arxiv.org/abs/1608.03983, equation 5 without restarts.
    """

    def decay(self, progress: float, step: int) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * progress))


@schedules.register("polynomial")
class Polynomial(Schedule):
    """Lower the learning rate to zero along a power of the steps that remain."""

    class Config(Schedule.Config):
        polynomial_power: float = param("Power of the share of steps that remain.", default=1.0, above=0)

    def __init__(self, config: Config, total_steps: int) -> None:
        super().__init__(config, total_steps)
        self.power = config.polynomial_power

    def decay(self, progress: float, step: int) -> float:
        return float((1.0 - progress) ** self.power)


@schedules.register("exponential")
class Exponential(Schedule):
    """Multiply the learning rate by ``decay_rate`` over every ``decay_steps`` steps."""

    class Config(Schedule.Config):
        decay_rate: float = param("Factor over decay_steps steps.", default=0.96, above=0, max=1)
        decay_steps: int = param("Optimizer steps over which decay_rate applies once.", default=10000, min=1)
        staircase: bool = param(
            "Whether the rate falls once every decay_steps instead of at every step.", default=False
        )

    def __init__(self, config: Config, total_steps: int) -> None:
        super().__init__(config, total_steps)
        self.config = config

    def decay(self, progress: float, step: int) -> float:
        times = step / self.config.decay_steps
        return float(self.config.decay_rate ** (math.floor(times) if self.config.staircase else times))


@schedules.register("inverse_sqrt")
class InverseSqrt(Schedule):
    """Lower the learning rate by the square root of the steps, counted from the warm-up's length.

    Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, equation 3.
    """

    def decay(self, progress: float, step: int) -> float:
        warmup = max(1, self.warmup)
        return math.sqrt(warmup / (warmup + step))


@schedules.register("one_cycle")
class OneCycle(Schedule):
    """Raise the learning rate along half a cosine and lower it far below its start along another.

    Source: Smith and Topin, "Super-Convergence", 2017, https://arxiv.org/abs/1708.07120; the shape is that of
    ``torch.optim.lr_scheduler.OneCycleLR``.
    """

    class Config(Schedule.Config):
        warmup_fraction: float = param(
            "Share of all optimizer steps over which the learning rate rises.", default=0.3, min=0, max=1
        )
        div_factor: float = param("Highest learning rate over the first one.", default=25.0, min=1)
        final_div_factor: float = param("First learning rate over the last one.", default=1e4, min=1)

    def __init__(self, config: Config, total_steps: int) -> None:
        super().__init__(config, total_steps)
        self.first = 1.0 / config.div_factor
        self.last = self.first / config.final_div_factor
        self.peak = config.warmup_fraction * total_steps - 1

    def factor(self, step: int) -> float:
        if step <= self.peak:
            return _anneal(self.first, 1.0, step / self.peak if self.peak > 0 else 1.0)
        return _anneal(1.0, self.last, (step - self.peak) / max(1.0, self.total_steps - 1 - self.peak))


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * progress))
