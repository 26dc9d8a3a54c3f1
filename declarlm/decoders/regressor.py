"""Head that gives one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.decoders.base import Head, decoders
from declarlm.decoders.clip import ClipConfig
from declarlm.encoders.fully_connected import FullyConnectedConfig

if TYPE_CHECKING:
    from torch import nn


@decoders.register("regressor")
class Regressor(Head):
    """Give one score by a linear layer, after as many fully connected layers as wanted.

    Input: hidden vector, ``float (batch, width)``. Output: ``float (batch, 1)``: the scaled number of a number
    output, the log-odds of true of a binary one.
    """

    accepts = frozenset({"number", "binary"})

    class Config(Head.Config, FullyConnectedConfig, ClipConfig):
        dropout: float = param("Probability of zeroing a value in training.", default=0.1, min=0, below=1)

    def build(self, width: int, size: int) -> nn.Module:
        from declarlm.layers.head import ScoreHead

        layers = self.config.layers(width)
        return ScoreHead(layers, layers.width, size, dropout=self.config.dropout)
