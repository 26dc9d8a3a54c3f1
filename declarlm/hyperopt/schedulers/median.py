"""The median stopping rule."""

from __future__ import annotations

from statistics import fmean, median

from declarlm.core import param
from declarlm.hyperopt.schedulers.base import Scheduler, schedulers


@schedulers.register("median_stopping_rule")
class MedianStoppingRule(Scheduler):
    """Stop a trial whose best score so far is below the median of the other trials' mean scores up to that time.

    Source: Golovin et al., "Google Vizier: A Service for Black-Box Optimization", 2017, section 3.2.1.
    """

    class Config(Scheduler.Config):
        grace_period: float = param("Time that every trial gets.", default=1, above=0)
        min_samples_required: int = param("Other trials that must have come as far.", default=3, min=1)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._scores: dict[int, list[tuple[float, float]]] = {}

    def judge(self, number: int, time: float, score: float) -> bool:
        self._scores.setdefault(number, []).append((time, score))
        if time < self.config.grace_period:
            return True
        others = [found for other, found in self._scores.items() if other != number and found[-1][0] >= time]
        if len(others) < self.config.min_samples_required:
            return True
        means = [fmean(past for at, past in found if at <= time) for found in others]
        return max(past for _, past in self._scores[number]) >= median(means)
