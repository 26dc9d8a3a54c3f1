"""Encoders that cut the number line into bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from declarlm.core import param
from declarlm.encoders.base import Encoder, encoders

if TYPE_CHECKING:
    from torch import nn


class _Binned(Encoder):
    accepts = frozenset({"number"})

    class Config(Encoder.Config):
        num_bins: int = param("Most bins; fewer if the training rows have fewer values.", default=64, min=2)

    class State(Encoder.State):
        edges: list[float] = param("Where bins begin and end, in rising order, in scaled units.")

    def fit(self, values: Any) -> Self:
        """Put the edges at quantiles, so that bins hold about as many training rows each."""
        import numpy as np

        edges = np.unique(np.quantile(values[:, 0].astype(np.float64), np.linspace(0, 1, self.config.num_bins + 1)))
        if len(edges) < 2:
            edges = np.array([edges[0] - 0.5, edges[0] + 0.5])
        self.state = self.State(edges=edges.tolist())
        return self


@encoders.register("ple")
class PiecewiseLinearEncoder(_Binned):
    """Say for each bin how much of it a number has passed; nothing to train.

    Input: scaled numbers, ``float32 (batch, 1)``. Output: ``float32 (batch, bins)``.
    Source: Gorishniy et al., "On Embeddings for Numerical Features", 2022, https://arxiv.org/abs/2203.05556.
    """

    def build(self) -> nn.Module:
        from declarlm.layers.tabular import PiecewiseLinear

        return PiecewiseLinear(self.state.edges)


@encoders.register("bins")
class BinsEncoder(_Binned):
    """Say in which bin a number lies; nothing to train.

    Input: scaled numbers, ``float32 (batch, 1)``. Output: ``float32 (batch, bins)``, a single one.
    """

    def build(self) -> nn.Module:
        from declarlm.layers.tabular import Bins

        return Bins(self.state.edges)
