"""Supervised fine-tuning: learn to give the answers in the output columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.objectives.base import Objective, objectives

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model, Store


@objectives.register("finetune")
class Finetune(Objective):
    """Learn the output columns from the input columns.

    A language model learns the tokens of the answers and of their end, given the prompt; an encoder's heads
    learn the targets of their columns.
    """

    model_types = frozenset({"llm", "ecd"})

    def store(self, model: Model, table: pd.DataFrame) -> Store:
        return model.encode(table)
