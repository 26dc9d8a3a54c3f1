"""Texts that belong together, row by row, and the vectors that an encoder gives them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from declarlm.core.ragged import Ragged

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.models.ecd import Ecd, EcdStore


@dataclass(eq=False)
class ContrastRows:
    """Rows of texts that belong together.

    Attributes:
        table: The rows of the table, as the encoders read them.
        inputs: Name of the input that each text of a row is taken from.
        places: Row of the table that each text is taken from, ``int64 (rows, texts)``.
        kinds: A number for each row of the table, the same for rows whose texts belong together, ``int64``.
        costs: Tokens of all texts of each row, ``int64 (rows,)``.
    """

    table: EcdStore
    inputs: tuple[str, ...]
    places: np.ndarray[Any, Any]
    kinds: np.ndarray[Any, Any]
    costs: np.ndarray[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        share = -(-self.table.costs // len(set(self.inputs)))  # a row of the table costs what all its texts do
        self.costs = share[self.places].sum(axis=1)

    def __len__(self) -> int:
        return len(self.places)

    def groups(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a number for each of some rows, the same for those that belong together."""
        found: np.ndarray[Any, Any] = self.kinds[self.places[rows, 0]]
        return found

    def singles(self) -> ContrastRows:
        """Return the first text of every row of the table, each alone."""
        import numpy as np

        return ContrastRows(self.table, self.inputs[:1], np.arange(len(self.table))[:, None], self.kinds)


def text_vectors(model: Ecd, store: ContrastRows, rows: np.ndarray[Any, Any]) -> Tensor:
    """Return the pooled vectors of all texts of rows, with their gradient, ``float (rows, texts, width)``."""
    import torch

    sides = [_vectors(model, store.table, name, store.places[rows, side]) for side, name in enumerate(store.inputs)]
    return torch.stack(sides, dim=1)


def _vectors(model: Ecd, table: EcdStore, name: str, rows: np.ndarray[Any, Any]) -> Tensor:
    values = table.inputs[name]
    return encode(model, name, values.take(rows) if isinstance(values, Ragged) else values[rows])


def encode(model: Ecd, name: str, values: Any) -> Tensor:
    """Return the pooled vector of each row of an input, as its encoder transformed it, ``float (rows, width)``."""
    encoder, module = model.encoder(name)
    batch = {key: value.to(model.device) for key, value in encoder.collate(values).items()}
    pooled: Tensor = module(**batch).pooled
    return pooled
