"""Combiner that lays vectors side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.combiners.base import Combiner, combiners
from declarlm.core import param
from declarlm.encoders.fully_connected import FullyConnectedConfig

if TYPE_CHECKING:
    from torch import nn


@combiners.register("concat")
class ConcatCombiner(Combiner):
    """Lay the vectors of all inputs side by side, then fully connected layers, if any.

    Input: one vector an input, ``float (batch, its width)``.
    Output: ``float (batch, sum of the widths)``, or ``output_size`` with layers.
    """

    # Measured on frozen MiniLM vectors: 77 classes in 10 epochs .928, against .903 at 1e-3.
    learning_rate = 1e-2

    class Config(Combiner.Config, FullyConnectedConfig):
        num_fc_layers: int | None = param(  # type: ignore[assignment]
            "How many fully connected layers; null is 2 for several inputs, which let them act on each other, and "
            "none for one.",
            default=None,
            min=0,
        )
        dropout: float = param("Probability of zeroing a value in training.", default=0.1, min=0, below=1)

    def build(self, widths: dict[str, int]) -> nn.Module:
        from declarlm.layers.combine import Concat

        config = self.config
        if config.num_fc_layers is None:
            config = config.replace(num_fc_layers=2 if len(widths) > 1 else 0)
        layers = config.layers(sum(widths.values()))
        return Concat(layers, layers.width)
