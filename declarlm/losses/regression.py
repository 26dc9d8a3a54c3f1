"""Losses of a number output; they compare scaled numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.core import param
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    from torch import Tensor


class _Difference(Loss):
    accepts = frozenset({"number"})

    def sum(self, scores: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan()
        return self.of(scores.squeeze(-1).float()[known] - targets[known]).sum()

    def of(self, differences: Tensor) -> Tensor:
        """Return the loss of each difference between a score and its target, ``float (rows,)``."""
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
