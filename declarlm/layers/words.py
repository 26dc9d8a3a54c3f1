"""Text encoders over word ids that start from random weights.

Each takes ids, ``int64 (batch, words)``, and a mask, ``bool (batch, words)``, and gives the same for a row whatever
rows stand beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from declarlm.layers.hidden import Hidden
from declarlm.layers.pooling import pool


class WordEmbedding(nn.Module):
    """Look up the vectors of words, ``float (batch, words, width)``."""

    def __init__(self, num_words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(num_words, width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors of ``ids``; the mask does not matter."""
        vectors: Tensor = self.dropout(self.embedding(ids))
        return vectors


class PooledWords(nn.Module):
    """Pool the vectors that ``words`` gives."""

    def __init__(self, words: nn.Module, how: str) -> None:
        super().__init__()
        self.words = words
        self.width = int(words.width)  # type: ignore[arg-type]
        self.how = how

    def forward(self, ids: Tensor, mask: Tensor) -> Hidden:
        """Map ids to a ``Hidden``."""
        tokens = self.words(ids, mask)
        return Hidden(pool(tokens, mask, self.how), tokens, mask)


class ParallelCnn(nn.Module):
    """Filters of several widths side by side; each keeps its strongest answer over the words of a row."""

    def __init__(self, words: WordEmbedding, num_filters: int, filter_sizes: list[int]) -> None:
        super().__init__()
        self.words = words
        self.width = num_filters * len(filter_sizes)
        self.filter_sizes = filter_sizes
        self.filters = nn.ModuleList(nn.Conv1d(words.width, num_filters, size) for size in filter_sizes)

    def forward(self, ids: Tensor, mask: Tensor) -> Hidden:
        """Map ids to a ``Hidden``."""
        # Padding is zero, as beyond the ends of a row, so that an answer does not depend on how much there is.
        vectors = self.words(ids, mask).masked_fill(~mask.unsqueeze(-1), 0.0).transpose(1, 2)
        answers = []
        for one, size in zip(self.filters, self.filter_sizes, strict=True):
            around = ((size - 1) // 2, size // 2)
            answers.append(one(nn.functional.pad(vectors, around)).relu())
        tokens = torch.cat(answers, dim=1).transpose(1, 2)
        return Hidden(pool(tokens, mask, "max"), tokens, mask)


class TransformerWords(nn.Module):
    """Word vectors that attend to each other, ``float (batch, words, width)``."""

    def __init__(
        self,
        words: WordEmbedding,
        *,
        max_length: int,
        num_layers: int,
        num_heads: int,
        inner_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.words = words
        self.width = words.width
        self.positions = nn.Embedding(max_length, words.width)
        nn.init.normal_(self.positions.weight, std=0.1)
        layer = nn.TransformerEncoderLayer(
            words.width, num_heads, inner_size, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, num_layers, norm=nn.LayerNorm(words.width), enable_nested_tensor=False
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return one vector a word."""
        positions = self.positions(torch.arange(ids.shape[1], device=ids.device))
        vectors: Tensor = self.layers(self.words(ids, mask) + positions, src_key_padding_mask=~mask)
        return vectors


class WeightedTerms(nn.Module):
    """Sum the trained vectors of a row's terms, each by its weight; rows are sparse, so memory goes by their terms."""

    def __init__(self, num_terms: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.terms = nn.EmbeddingBag(num_terms, width, mode="sum")
        nn.init.normal_(self.terms.weight, std=width**-0.5)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, offsets: Tensor, weights: Tensor) -> Hidden:
        """Map sparse rows to ``float (batch, width)``.

        Args:
            ids: Terms of all rows, one row after another, ``int64 (terms of the batch,)``.
            offsets: Where each row starts, ``int64 (batch,)``.
            weights: Weight of each term in its row, ``float32 (terms of the batch,)``.
        """
        return Hidden(self.dropout(self.terms(ids, offsets, per_sample_weights=weights)))
