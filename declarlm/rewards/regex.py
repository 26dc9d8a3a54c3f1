"""Reward of answers of a given form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from declarlm.core import Problem, param
from declarlm.rewards.base import Reward, rewards

if TYPE_CHECKING:
    import pandas as pd


@rewards.register("regex")
class Regex(Reward):
    """Give 1 to an answer in which a regular expression is found, else 0."""

    class Config(Reward.Config):
        pattern: str = param("Regular expression, as in Python's re; a dot is any character, line breaks too.")
        whole: bool = param("Whether it must match the answer from its beginning to its end.", default=False)

        def check(self) -> Iterable[Problem]:
            try:
                re.compile(self.pattern)
            except re.error as error:
                yield Problem("pattern", f"is no regular expression: {error}")

    def score(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Sequence[float]:
        pattern = re.compile(self.config.pattern, re.DOTALL)
        find = pattern.fullmatch if self.config.whole else pattern.search
        return [float(find(answer) is not None) for answer in answers]
