"""Losses of a number output; they compare scaled numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core import param
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class _Difference(Loss):
    accepts = frozenset({"number", "vector"})

    def row_weights(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        weights = super().row_weights(targets)
        return weights if weights.ndim == 1 else weights.min(axis=1)

    def sum(self, scores: Tensor, targets: Tensor) -> Tensor:
        # A row of a vector counts as one: what is lost is the mean over its numbers.
        wanted = targets if targets.ndim > 1 else targets[:, None]
        known = ~wanted.isnan().any(dim=1)
        return self.of(scores.float()[known] - wanted[known]).mean(dim=1).sum()

    def of(self, differences: Tensor) -> Tensor:
        """Return the loss of each difference between a score and its target, of the same shape."""
        raise NotImplementedError


@losses.register("mean_squared_error")
class MeanSquaredError(_Difference):
    """Square of the difference between the scaled number and its prediction."""

    def of(self, differences: Tensor) -> Tensor:
        return differences.square()


@losses.register("mean_absolute_error")
class MeanAbsoluteError(_Difference):
    """Size of the difference between the scaled number and its prediction."""

    def of(self, differences: Tensor) -> Tensor:
        return differences.abs()


@losses.register("huber")
class Huber(_Difference):
    """Half the square of small differences, and linear in large ones, which outliers then dominate less.

    Source: Huber 1964, https://doi.org/10.1214/aoms/1177703732.
    """

    class Config(Loss.Config):
        delta: float = param("Difference from which on the loss is linear, in scaled units.", default=1.0, above=0)

    def of(self, differences: Tensor) -> Tensor:
        size, delta = differences.abs(), self.config.delta
        return size.clamp(max=delta) * (size - 0.5 * size.clamp(max=delta))
