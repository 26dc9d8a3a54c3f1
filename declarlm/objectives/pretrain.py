"""Pretraining: learn the next token of raw text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.objectives.base import Objective, objectives

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model, Store


@objectives.register("pretrain")
class Pretrain(Objective):
    """Learn the next token of the one text input, from a base model or from scratch.

    The rows are laid end to end, each closed by the stop token, and cut into pieces of ``sequence_length``
    tokens, so that no token is padding. Every token is supervised.
    """

    needs_outputs = False
    joins = True
    full_rate = 1e-3

    class Config(Objective.Config):
        sequence_length: int | None = param(
            "Tokens of one training piece; null is the context length of the model.", default=None, min=8
        )

    def store(self, model: Model, table: pd.DataFrame) -> Store:
        return model.pack(table, length=self.config.sequence_length)
