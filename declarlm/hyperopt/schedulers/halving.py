"""Successive halving: few trials get much time, many get little."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, inf

from declarlm.core import Problem, param
from declarlm.hyperopt.schedulers.base import Scheduler, schedulers


class Bracket:
    """The rungs of one successive halving.

    Attributes:
        rungs: Score of each trial by number, by the time at which it was judged, the longest time first.
    """

    def __init__(self, grace: float, limit: float, factor: float) -> None:
        times: list[float] = []
        while grace < limit and len(times) < 20:
            times.append(grace)
            grace *= factor
        self.rungs: dict[float, dict[int, float]] = {time: {} for time in reversed(times)}
        self._factor = factor

    def judge(self, number: int, time: float, score: float) -> bool:
        """Return whether a trial is, at the last rung that it passed, among the best that came there before."""
        import numpy as np

        for at, scores in self.rungs.items():
            if time < at:
                continue
            if number in scores:
                return True
            earlier = list(scores.values())
            scores[number] = score
            return not earlier or score >= float(np.quantile(earlier, 1 - 1 / self._factor))
        return True


@schedulers.register("asha")
class Asha(Scheduler):
    """Stop a trial at time ``grace_period * reduction_factor ** k`` unless it is among the best that came so far.

    Of the trials that reach such a rung, about one in ``reduction_factor`` goes on. Nobody waits: the first one at a
    rung always goes on.
    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2018,
    https://arxiv.org/abs/1810.05934, algorithm 2.
    """

    class Config(Scheduler.Config):
        grace_period: float = param("Time that every trial gets.", default=1, above=0)
        reduction_factor: float = param("One in so many trials goes on from rung to rung.", default=4, above=1)
        max_t: float | None = param("Time after which a trial is stopped in any case.", default=None, above=0)

        def check(self) -> Iterable[Problem]:
            if self.max_t is not None and self.max_t <= self.grace_period:
                yield Problem("max_t", f"must be above grace_period ({self.grace_period:g}), got {self.max_t:g}")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._limit = inf if config.max_t is None else config.max_t
        self._brackets = self.make_brackets()

    def make_brackets(self) -> list[Bracket]:
        """Return one bracket for each trial of a round; the next round has the same again."""
        return [Bracket(self.config.grace_period, self._limit, self.config.reduction_factor)]

    def judge(self, number: int, time: float, score: float) -> bool:
        bracket = self._brackets[number % len(self._brackets)]
        return bracket.judge(number, time, score) and time < self._limit


@schedulers.register("hyperband")
class HyperBand(Asha):
    """Run several successive halvings side by side, the more patient ones with fewer trials.

    No bracket waits for its trials, as in ``asha``; so good trials that learn slowly are stopped less often than by
    ``asha`` alone.
    Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", 2018,
    https://arxiv.org/abs/1603.06560, algorithm 1.
    """

    class Config(Asha.Config):
        max_t: float | None = param("Time of the longest trial, which sets the number of brackets.", default=9, above=0)

    def make_brackets(self) -> list[Bracket]:
        grace, factor = self.config.grace_period, self.config.reduction_factor
        halvings = 0
        while grace * factor ** (halvings + 1) <= self._limit and halvings < 20:
            halvings += 1
        brackets: list[Bracket] = []
        for patience in range(halvings + 1):
            bracket = Bracket(grace * factor**patience, self._limit, factor)
            rounds = halvings - patience
            brackets += [bracket] * ceil((halvings + 1) / (rounds + 1) * factor**rounds)
        return brackets
