"""The last layers of a model: a hidden vector becomes scores."""

from __future__ import annotations

from torch import Tensor, nn


class ScoreHead(nn.Module):
    """Drop out, pass through ``layers``, and project to scores.

    Args:
        layers: What comes before the projection.
        width: Length of the vector that ``layers`` gives.
        size: Length of the score vector.
        dropout: Probability of zeroing a value of the input in training.
    """

    def __init__(self, layers: nn.Module, width: int, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.layers = layers
        self.projection = nn.Linear(width, size)
        # Nearly zero, so that training starts from no opinion: with thousands of inputs the usual start would be
        # noise that a short training has to unlearn first.
        nn.init.normal_(self.projection.weight, std=1e-3)
        nn.init.zeros_(self.projection.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``float (batch, width of the input)`` to ``float (batch, size)``."""
        scores: Tensor = self.projection(self.layers(self.dropout(hidden)))
        return scores
