"""No training at all: a language model used as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.objectives.base import Objective, objectives

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model, Store


@objectives.register("none")
class Untrained(Objective):
    """Change no weight: prompt the base model as it is, or with adapter weights that were trained elsewhere."""

    trains = False

    def store(self, model: Model, table: pd.DataFrame) -> Store:
        return model.encode(table)
