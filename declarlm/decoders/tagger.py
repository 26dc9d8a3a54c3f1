"""Head that scores the tags of each word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.decoders.base import Head, decoders
from declarlm.encoders.fully_connected import FullyConnectedConfig

if TYPE_CHECKING:
    from torch import nn


@decoders.register("tagger")
class Tagger(Head):
    """Score every tag for each word by a linear layer, after as many fully connected layers as wanted.

    Input: hidden vector of each word, ``float (words, width)``: that of its first token, or its last one where an
    encoder reads from left to right, as only that has seen the whole word. With several inputs, what the combiner
    made of all of them stands beside it. Output: logits, ``float (words, tags)``.
    Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 5.3 (first token, no conditional random
    field).
    """

    accepts = frozenset({"sequence"})

    class Config(Head.Config, FullyConnectedConfig):
        dropout: float = param("Probability of zeroing a value in training.", default=0.1, min=0, below=1)
        repair: bool = param(
            "Turn a predicted I- tag that continues no entity of its kind into B-, where all tags are O, B- and I-.",
            default=True,
        )

    def build(self, width: int, size: int) -> nn.Module:
        from declarlm.layers.head import ScoreHead

        layers = self.config.layers(width)
        return ScoreHead(layers, layers.width, size, dropout=self.config.dropout)
