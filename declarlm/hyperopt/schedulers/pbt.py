"""Population based training: values change while models train."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from declarlm.core import Problem, param
from declarlm.hyperopt.schedulers.base import Move, NoTime, Scheduler, schedulers
from declarlm.hyperopt.spaces import Interval, Options, Space

if TYPE_CHECKING:
    import numpy as np

# What a training under way can change: the shape of no weight and the number of no step depends on it.
CHANGEABLE = (
    *("trainer.learning_rate", "trainer.learning_rate_scheduler", "trainer.optimizer", "trainer.gradient_clipping"),
    *("trainer.max_tokens_per_micro_batch",),
)


@schedulers.register("pbt")
class Pbt(Scheduler):
    """Let all trials train for a while, then let the worst go on from the best, with their values a little changed.

    The trials are a population: after every ``perturbation_interval`` evaluations all have made as many, and each of
    the worst takes weights, optimizer and values of one of the best. A number is multiplied by 1.2 or .8, a category
    becomes its neighbour in the list; now and then a value is drawn anew. Source: Jaderberg et al., "Population Based
    Training of Neural Networks", 2017, https://arxiv.org/abs/1711.09846.
    """

    generational = True

    class Config(NoTime):
        perturbation_interval: int = param("Evaluations between two generations.", default=1, min=1)
        quantile_fraction: float = param(
            "Share of the trials that are replaced, and of those that replace them.", default=0.25, above=0, max=0.5
        )
        resample_probability: float = param("How often a value is drawn anew.", default=0.25, min=0, max=1)

        def check_parameters(self, spaces: Mapping[str, Space.Config]) -> Iterable[Problem]:
            """Yield a problem for each parameter that cannot change while a model trains."""
            for path in spaces:
                if not path.startswith(CHANGEABLE) and path.rpartition(".")[2] != "dropout":
                    remedy = "leave it out, or write another scheduler"
                    yield Problem(f"parameters.{path}", f"cannot change in a training under way, as pbt does; {remedy}")

    config: Config

    def judge(self, number: int, time: float, score: float) -> bool:
        return True

    def evolve(
        self,
        scores: Mapping[int, float],
        samples: Mapping[int, Mapping[str, Any]],
        spaces: Mapping[str, Space],
        generator: np.random.Generator,
    ) -> list[Move]:
        order = sorted(
            scores, key=lambda number: (-math.inf if math.isnan(scores[number]) else scores[number], -number)
        )
        count = math.ceil(len(order) * self.config.quantile_fraction) if len(order) > 1 else 0
        best = order[len(order) - count :]
        moves = []
        for number in sorted(order[: min(count, len(order) - count)]):
            donor = best[int(generator.integers(count))]
            values = {path: self._changed(spaces[path], samples[donor][path], generator) for path in spaces}
            moves.append(Move(number, donor, values))
        return moves

    def _changed(self, space: Space, value: Any, generator: np.random.Generator) -> Any:
        if generator.random() < self.config.resample_probability:
            return space.draw(generator)
        upwards = bool(generator.random() < 0.5)
        match space.shape:
            case Options(values):
                place = values.index(value) + (1 if upwards else -1)
                return values[min(len(values) - 1, max(0, place))]
            case Interval() as interval:
                moved = min(interval.upper, max(interval.lower, value * (1.2 if upwards else 0.8)))
                return interval.nearest(moved) if interval.step else moved
        return value * (1.2 if upwards else 0.8)
