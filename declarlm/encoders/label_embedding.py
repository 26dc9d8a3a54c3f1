"""Encoder of sets of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from declarlm.core import param
from declarlm.core.ragged import Ragged
from declarlm.encoders.base import Encoder, encoders
from declarlm.encoders.tokens import padded

if TYPE_CHECKING:
    import torch
    from torch import nn


@encoders.register("label_embedding")
class LabelEmbeddingEncoder(Encoder):
    """Look up one trained vector per label and pool them; their order does not matter.

    Input: numbers of the labels of each row, ``int32 (labels,)``. Output: ``float32 (batch, embedding_size)``.
    """

    accepts = frozenset({"set"})

    class Config(Encoder.Config):
        embedding_size: int = param("Length of the vector of a label.", default=50, min=1)
        reduce_output: Literal["sum", "mean", "max"] = param("How label vectors become one.", default="sum")
        dropout: float = param("Probability of zeroing a value in training.", default=0.0, min=0, below=1)

    class State(Encoder.State):
        num_labels: int = param("How many labels there are, the unknown one included.")

    def fit(self, values: Any) -> Self:
        self.state = self.State(num_labels=int(values.values.max(initial=0)) + 1)
        return self

    def collate(self, rows: Ragged) -> dict[str, torch.Tensor]:
        return padded(rows, 0)

    def build(self) -> nn.Module:
        from declarlm.layers.words import PooledWords, WordEmbedding

        config = self.config
        vectors = WordEmbedding(self.state.num_labels, config.embedding_size, config.dropout)
        return PooledWords(vectors, config.reduce_output)
