"""Encoder that pools word vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from declarlm.core import param
from declarlm.encoders.base import encoders
from declarlm.encoders.words import WordEncoder

if TYPE_CHECKING:
    from torch import nn


@encoders.register("embed")
class EmbedEncoder(WordEncoder):
    """Look up one trained vector per word and pool them; the order of words does not matter.

    Input: texts. Output: ``float32 (batch, embedding_size)``.
    """

    class Config(WordEncoder.Config):
        reduce_output: Literal["mean", "max", "sum"] = param("How word vectors become one.", default="mean")

    def build(self) -> nn.Module:
        from declarlm.layers.words import PooledWords, WordEmbedding

        config = self.config
        words = WordEmbedding(len(self.state.words) + 1, config.embedding_size, config.dropout)
        return PooledWords(words, config.reduce_output)
