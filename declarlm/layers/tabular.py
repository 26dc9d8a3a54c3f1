"""Modules for categories and numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from declarlm.layers.hidden import Hidden


class CategoryEmbedding(nn.Module):
    """Look up one trained vector per category, then pass it through ``layers``.

    The vector of id 0, the unknown, starts at zero: where training has no unknown it says nothing.
    """

    def __init__(self, num_categories: int, size: int, layers: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(num_categories, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)
        with torch.no_grad():
            self.embedding.weight[0] = 0.0
        self.dropout = nn.Dropout(dropout)
        self.layers = layers

    def forward(self, values: Tensor) -> Hidden:
        """Map ids, ``int64 (batch,)``, to ``float (batch, width)``."""
        return Hidden(self.layers(self.dropout(self.embedding(values))))


class OneHot(nn.Module):
    """Give each category a place of its own; id 0, the unknown, has one too."""

    def __init__(self, num_categories: int) -> None:
        super().__init__()
        self.width = num_categories

    def forward(self, values: Tensor) -> Hidden:
        """Map ids, ``int64 (batch,)``, to ``float (batch, num_categories)``."""
        return Hidden(nn.functional.one_hot(values, self.width).float())


class NumberProjection(nn.Module):
    """Spread numbers over a trained vector with a nonlinearity, then pass it through ``layers``."""

    def __init__(
        self, numbers: int, size: int, activation: nn.Module, layers: nn.Module, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.width = width
        self.projection = nn.Linear(numbers, size)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.layers = layers

    def forward(self, values: Tensor) -> Hidden:
        """Map ``float (batch, numbers)`` to ``float (batch, width)``."""
        return Hidden(self.layers(self.dropout(self.activation(self.projection(values)))))


class Passthrough(nn.Module):
    """Take vectors as they are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, values: Tensor) -> Hidden:
        """Return ``float (batch, width)`` unchanged."""
        return Hidden(values)


class PiecewiseLinear(nn.Module):
    """Say for each bin how much of it a number has passed, from 0 to 1.

    Bins at the ends are open: a number beyond the training rows goes on linearly, as in the source, which leaves
    the order of all numbers visible. Source: Gorishniy et al. 2022, https://arxiv.org/abs/2203.05556, section 3.2.
    """

    edges: Tensor

    def __init__(self, edges: list[float]) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(edges), persistent=False)
        self.width = len(edges) - 1

    def forward(self, values: Tensor) -> Hidden:
        """Map ``float (batch, 1)`` to ``float (batch, bins)``."""
        shares = (values - self.edges[:-1]) / (self.edges[1:] - self.edges[:-1])
        low = torch.full_like(self.edges[:-1], 0.0)
        high = torch.full_like(self.edges[:-1], 1.0)
        low[0], high[-1] = -torch.inf, torch.inf
        return Hidden(torch.clamp(shares, low, high))


class Bins(nn.Module):
    """Give each interval between two edges a place of its own."""

    edges: Tensor

    def __init__(self, edges: list[float]) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(edges[1:-1]), persistent=False)
        self.width = len(edges) - 1

    def forward(self, values: Tensor) -> Hidden:
        """Map ``float (batch, 1)`` to ``float (batch, bins)``."""
        places = torch.bucketize(values[:, 0].contiguous(), self.edges, right=True)
        return Hidden(nn.functional.one_hot(places, self.width).float())
