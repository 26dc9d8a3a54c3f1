"""What every objective has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import Problem, Registry
from declarlm.evaluation.scores import mean_losses
from declarlm.training.config import TrainerConfig
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from declarlm.evaluation.general import Forgetting
    from declarlm.features.base import OutputFeature
    from declarlm.models.base import Model, Store

objectives: Registry[Objective] = Registry("objective", package="declarlm.objectives")


class Objective:
    """Turn a table into training rows with a loss.

    Attributes:
        trains: Whether weights change.
        model_types: Kinds of model that can learn it.
        needs_outputs: Whether the config must name output features.
        joins: Whether prompt and answer must be one text to the model, as they are to one without an encoder.
        cuts_answers: Whether an answer that is too long is cut where ``preprocessing.overlong`` says cut.
        full_rate: Learning rate that suits all weights of a pretrained language model.
        adapter_share: Share of an adapter's own learning rate that suits it.
        config: The ``trainer`` section: the objective's own keys beside those of every training.
        open_run: Returns the trained model in a run directory; whoever builds the objective hands it over.
    """

    trains: ClassVar[bool] = True
    model_types: ClassVar[frozenset[str]] = frozenset({"llm"})
    needs_outputs: ClassVar[bool] = True
    joins: ClassVar[bool] = False
    cuts_answers: ClassVar[bool] = False
    full_rate: ClassVar[float] = 2e-5
    adapter_share: ClassVar[float] = 1.0

    class Config(TrainerConfig):
        def check_model(self, config: Any) -> Iterable[Problem]:
            """Yield what cannot be learned so of the whole config."""
            return ()

    def __init__(self, config: Any) -> None:
        self.config = config
        self.open_run: Callable[[str], Any] | None = None

    def columns(self, model: Model) -> Sequence[OutputFeature]:
        """Return readers of the columns that are needed in training beside those of the features."""
        return ()

    def learn(self, model: Model, *tables: pd.DataFrame) -> None:
        """Refuse what cannot be learned from the rows, before torch or a base is loaded; the model has learned.

        Raises:
            DataError: With the column, and the row and what is wrong with its cell.
        """

    def store(self, model: Model, table: pd.DataFrame) -> Store:
        """Return the rows of ``table`` as the model trains on them.

        Raises:
            DataError: If a row cannot be used.
        """
        raise NotImplementedError

    def learn_lengths(self, model: Model, store: Any) -> None:
        """Let the model learn from the training rows how long answers are."""
        model.learn_lengths(store)

    def remarks(self, model: Model, store: Any, num_rows: int) -> list[str]:
        """Return what a person should know of how the ``num_rows`` rows of a table were read."""
        return model.overlong(store, num_rows)

    def right(self, model: Model, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return which rows hold outputs that should be predicted, ``bool (rows,)``."""
        import numpy as np

        return np.ones(len(table), dtype=bool)

    def begin(self, model: Model, stores: Sequence[Any], group: Alone) -> None:
        """Find out about the rows what only the built model can say, before its first step."""

    def workload(self, model: Model, store: Any) -> Supervised:
        """Return the rows with their losses, as the trainer asks for them."""
        return Supervised(model, store)

    def forgotten(self, model: Model) -> Forgetting | None:
        """Return what training cost on text that it had nothing to do with, if the config asks for it."""
        return None

    def measure(
        self,
        model: Model,
        store: Any,
        *,
        rows: np.ndarray[Any, Any] | None = None,
        max_rows: int | None = None,
        group: Alone | None = None,
    ) -> dict[str, dict[str, float]]:
        """Return the losses of the module as it is, by output, and ``combined``; see ``mean_losses``."""
        return mean_losses(model, store, rows=rows, max_rows=max_rows, group=group)


class Supervised:
    """Rows and losses of a model, as the trainer asks for them."""

    rehearses = False

    def __init__(self, model: Model, store: Store) -> None:
        self.model = model
        self.store = store
        self.num_rows = len(store)
        self.costs = store.costs
        self.importance: Mapping[str, float] = model.importance

    def prepare(self, module: nn.Module, rows: np.ndarray[Any, Any], budget: int) -> None:
        """Find out what the losses of all rows of a step must know, before the first of them."""

    def weights(self, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        """Return what each loss is divided by over the given rows."""
        return self.model.weights(self.store, rows)

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        """Return each loss summed over the given rows, a scalar each."""
        return self.model.losses(self.store, rows)
