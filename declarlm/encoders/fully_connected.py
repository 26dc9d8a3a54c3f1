"""The parameters of fully connected layers, for every part that has some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from declarlm.core import Section, param

if TYPE_CHECKING:
    from declarlm.layers.fully_connected import FullyConnected


class FullyConnectedConfig(Section):
    """The parameters that a stack of fully connected layers takes."""

    num_fc_layers: int = param("How many fully connected layers.", default=0, min=0)
    output_size: int = param("Width of each fully connected layer.", default=256, min=1)
    activation: Literal["relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu", "elu"] | None = param(
        "Nonlinearity after each fully connected layer.", default="relu"
    )
    norm: Literal["layer"] | None = param("Normalization before each nonlinearity.", default=None)
    dropout: float = param("Probability of zeroing a value in training.", default=0.0, min=0, below=1)

    def layers(self, width: int) -> FullyConnected:
        """Return the layers for inputs of length ``width``."""
        from declarlm.layers.fully_connected import FullyConnected

        return FullyConnected(
            width,
            num_layers=self.num_fc_layers,
            output_size=self.output_size,
            activation=self.activation,
            norm=self.norm,
            dropout=self.dropout,
        )
