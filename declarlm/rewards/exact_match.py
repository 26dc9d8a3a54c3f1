"""Reward of right answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.rewards.base import Reward, rewards

if TYPE_CHECKING:
    import pandas as pd


@rewards.register("exact_match")
class ExactMatch(Reward):
    """Give 1 to an answer that is the one in the table, else 0; spaces around it do not count."""

    class Config(Reward.Config):
        case_sensitive: bool = param("Whether capital letters make a difference.", default=True)

    def score(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Sequence[float]:
        def plain(text: str) -> str:
            return text.strip() if self.config.case_sensitive else text.strip().casefold()

        return [float(plain(answer) == plain(right)) for answer, right in zip(answers, known, strict=True)]
