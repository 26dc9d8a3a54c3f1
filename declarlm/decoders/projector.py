"""Head that predicts several numbers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.decoders.base import Head, decoders
from declarlm.encoders.fully_connected import FullyConnectedConfig

if TYPE_CHECKING:
    from torch import nn


@decoders.register("projector")
class Projector(Head):
    """Map the hidden vector to numbers by a linear layer, after as many fully connected layers as wanted.

    Input: hidden vector, ``float (batch, width)``. Output: ``float (batch, numbers)``.
    """

    accepts = frozenset({"vector"})

    class Config(Head.Config, FullyConnectedConfig):
        pass

    def build(self, width: int, size: int) -> nn.Module:
        from declarlm.layers.head import ScoreHead

        layers = self.config.layers(width)
        return ScoreHead(layers, layers.width, size, dropout=self.config.dropout)
