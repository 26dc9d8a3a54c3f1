"""Convolutional text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.encoders.base import encoders
from declarlm.encoders.words import WordEncoder

if TYPE_CHECKING:
    from torch import nn


@encoders.register("parallel_cnn")
class ParallelCnnEncoder(WordEncoder):
    """Slide filters of several widths over word vectors and keep each filter's strongest answer.

    Input: texts. Output: ``float32 (batch, num_filters * widths)``.
    Source: Kim 2014, https://arxiv.org/abs/1408.5882.
    """

    class Config(WordEncoder.Config):
        num_filters: int = param("Filters of each width.", default=128, min=1)
        filter_sizes: list[int] = param("Widths of the filters, in words.", default=[2, 3, 4, 5], min=1)

    def build(self) -> nn.Module:
        from declarlm.layers.words import ParallelCnn, WordEmbedding

        config = self.config
        words = WordEmbedding(len(self.state.words) + 1, config.embedding_size, config.dropout)
        return ParallelCnn(words, config.num_filters, config.filter_sizes)
