"""Dense encoder: a trained vector for a category or for numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from declarlm.core import param
from declarlm.encoders.base import Encoder, encoders
from declarlm.encoders.fully_connected import FullyConnectedConfig

if TYPE_CHECKING:
    from torch import nn


@encoders.register("dense")
class DenseEncoder(Encoder):
    """Look up one trained vector per category, or spread numbers over one; then fully connected layers, if any.

    Input: ids, ``int64 (batch,)``, or scaled numbers, ``float32 (batch, numbers)``.
    Output: ``float32 (batch, embedding_size)``, or ``output_size`` with layers.
    """

    accepts = frozenset({"category", "number", "vector"})

    class Config(Encoder.Config, FullyConnectedConfig):
        embedding_size: int = param("Length of the vector of a category or number.", default=50, min=1)

    class State(Encoder.State):
        num_categories: int | None = param("How many ids there are; null for numbers.", default=None)
        num_numbers: int = param("How many numbers a row has.", default=1, min=1)

    def fit(self, values: Any) -> Self:
        is_id = values.dtype.kind == "i"
        self.state = self.State(
            num_categories=count_categories(values) if is_id else None, num_numbers=1 if is_id else values.shape[1]
        )
        return self

    def build(self) -> nn.Module:
        from declarlm.layers.fully_connected import ACTIVATIONS
        from declarlm.layers.tabular import CategoryEmbedding, NumberProjection

        config = self.config
        layers = config.layers(config.embedding_size)
        if self.state.num_categories is not None:
            return CategoryEmbedding(
                self.state.num_categories, config.embedding_size, layers, layers.width, config.dropout
            )
        activation = ACTIVATIONS[config.activation or "relu"]()
        numbers = self.state.num_numbers
        return NumberProjection(numbers, config.embedding_size, activation, layers, layers.width, config.dropout)


def count_categories(ids: Any) -> int:
    """Return how many ids there are, 0 for the unknown included."""
    return int(max(ids.max(initial=0), 0)) + 1
