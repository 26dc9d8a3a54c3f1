"""Reward of answers of the right length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from declarlm.core import Problem, param
from declarlm.rewards.base import Reward, rewards

if TYPE_CHECKING:
    import pandas as pd


@rewards.register("length")
class Length(Reward):
    """Give 1 to an answer whose length is within the bounds.

    Outside of them it is the shorter of length and bound divided by the longer, so that it falls slowly to 0.
    """

    class Config(Reward.Config):
        min: int = param("Least length.", default=0, min=0)
        max: int | None = param("Greatest length; null is none.", default=None, min=1)
        unit: Literal["words", "characters"] = param("What is counted.", default="words")

        def check(self) -> Iterable[Problem]:
            if not self.min and self.max is None:
                yield Problem("max", "any length is right without a bound; write min, max or both")
            elif self.max is not None and self.min > self.max:
                yield Problem("min", f"must be at most max ({self.max}), got {self.min}")

    def score(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Sequence[float]:
        words = self.config.unit == "words"
        return [self._score(len(answer.split()) if words else len(answer.strip())) for answer in answers]

    def _score(self, length: int) -> float:
        least: int = self.config.min
        most: int | None = self.config.max
        if length < least:
            return length / least
        return 1.0 if most is None or length <= most else most / length
