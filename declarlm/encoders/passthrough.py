"""Encoder that leaves numbers as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from declarlm.core import param
from declarlm.encoders.base import Encoder, encoders

if TYPE_CHECKING:
    from torch import nn


@encoders.register("passthrough")
class PassthroughEncoder(Encoder):
    """Hand the scaled numbers on unchanged.

    Input and output: ``float32 (batch, numbers)``.
    """

    accepts = frozenset({"number", "vector"})

    class State(Encoder.State):
        width: int = param("How many numbers a row has.", default=1, min=1)

    def fit(self, values: Any) -> Self:
        self.state = self.State(width=values.shape[1])
        return self

    def build(self) -> nn.Module:
        from declarlm.layers.tabular import Passthrough

        return Passthrough(self.state.width)
