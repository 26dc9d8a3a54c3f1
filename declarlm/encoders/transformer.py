"""Transformer text encoder, from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from declarlm.core import Problem, param
from declarlm.encoders.base import encoders
from declarlm.encoders.words import WordEncoder

if TYPE_CHECKING:
    from torch import nn


@encoders.register("transformer")
class TransformerEncoder(WordEncoder):
    """Let word vectors attend to each other in a small transformer that starts from random weights.

    Input: texts. Output: pooled ``float32 (batch, embedding_size)``, tokens
    ``float32 (batch, words, embedding_size)``. Positions are learned, layers are normalized before each part.
    """

    class Config(WordEncoder.Config):
        num_layers: int = param("Layers, one after another.", default=2, min=1)
        num_heads: int = param("Attention heads of a layer.", default=8, min=1)
        transformer_output_size: int = param("Width of the layer between two linear ones.", default=512, min=1)
        reduce_output: Literal["mean", "max", "sum"] = param("How word vectors become one.", default="mean")

        def check(self) -> Iterable[Problem]:
            if self.embedding_size % self.num_heads:
                yield Problem("embedding_size", f"must be a multiple of num_heads ({self.num_heads})")

    def build(self) -> nn.Module:
        from declarlm.layers.words import PooledWords, TransformerWords, WordEmbedding

        config = self.config
        words = WordEmbedding(len(self.state.words) + 1, config.embedding_size, config.dropout)
        attending = TransformerWords(
            words,
            max_length=self.max_length,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            inner_size=config.transformer_output_size,
            dropout=config.dropout,
        )
        return PooledWords(attending, config.reduce_output)
