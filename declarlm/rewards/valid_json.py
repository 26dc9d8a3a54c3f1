"""Reward of answers that are JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.rewards.base import Reward, rewards

if TYPE_CHECKING:
    import pandas as pd


@rewards.register("valid_json")
class ValidJson(Reward):
    """Give 1 to an answer that is a JSON object or list, else 0.

    With ``keys``, an object gets the share of them that it has, and a list 0.
    """

    class Config(Reward.Config):
        keys: list[str] = param("Keys that the object must have; empty takes any object or list.", default=[])

    def score(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Sequence[float]:
        return [self._score(answer) for answer in answers]

    def _score(self, answer: str) -> float:
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError):
            return 0.0
        keys = self.config.keys
        if not keys:
            return float(isinstance(value, dict | list))
        return sum(key in value for key in keys) / len(keys) if isinstance(value, dict) else 0.0
