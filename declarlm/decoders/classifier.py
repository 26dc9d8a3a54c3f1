"""Head that scores labels, of which a row has one or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.decoders.base import Head, decoders
from declarlm.encoders.fully_connected import FullyConnectedConfig

if TYPE_CHECKING:
    from torch import nn


@decoders.register("classifier")
class Classifier(Head):
    """Score every label by a linear layer, after as many fully connected layers as wanted.

    Input: hidden vector, ``float (batch, width)``. Output: logits, ``float (batch, labels)``.
    """

    accepts = frozenset({"category", "binary", "set"})

    class Config(Head.Config, FullyConnectedConfig):
        dropout: float = param("Probability of zeroing a value in training.", default=0.1, min=0, below=1)

    def build(self, width: int, size: int) -> nn.Module:
        from declarlm.layers.head import ScoreHead

        layers = self.config.layers(width)
        return ScoreHead(layers, layers.width, size, dropout=self.config.dropout)
