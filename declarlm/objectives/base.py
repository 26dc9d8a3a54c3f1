"""What every objective has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import Registry
from declarlm.training.config import TrainerConfig

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from declarlm.models.base import Model, Store

objectives: Registry[Objective] = Registry("objective", package="declarlm.objectives")


class Objective:
    """Turn a table into training rows with a loss.

    Attributes:
        trains: Whether weights change.
        model_types: Kinds of model that can learn it.
        needs_outputs: Whether the config must name output features.
        config: The ``trainer`` section: the objective's own keys beside those of every training.
    """

    trains: ClassVar[bool] = True
    model_types: ClassVar[frozenset[str]] = frozenset({"llm"})
    needs_outputs: ClassVar[bool] = True

    class Config(TrainerConfig):
        pass

    def __init__(self, config: Any) -> None:
        self.config = config

    def store(self, model: Model, table: pd.DataFrame) -> Store:
        """Return the rows of ``table`` as the model trains on them.

        Raises:
            DataError: If a row cannot be used.
        """
        raise NotImplementedError


class Supervised:
    """Rows and losses of a model, as the trainer asks for them."""

    def __init__(self, model: Model, store: Store) -> None:
        self.model = model
        self.store = store
        self.num_rows = len(store)
        self.costs = store.costs
        self.importance = model.importance

    def weights(self, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        """Return what each loss is divided by over the given rows."""
        return self.model.weights(self.store, rows)

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        """Return each loss summed over the given rows, a scalar each."""
        return self.model.losses(self.store, rows)
