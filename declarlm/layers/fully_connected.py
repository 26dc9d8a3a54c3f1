"""Fully connected layers, one after another."""

from __future__ import annotations

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}


class FullyConnected(nn.Module):
    """Layers of ``linear, norm, activation, dropout``, all of one width; none of them is the identity.

    Args:
        width: Length of the input vector.
        num_layers: How many layers.
        output_size: Width of each layer.
        activation: Name in ``ACTIVATIONS``, None for linear layers.
        norm: ``layer``, None for none; statistics of a batch would make results depend on how rows are batched.
        dropout: Probability of zeroing an output in training.
    """

    def __init__(
        self,
        width: int,
        *,
        num_layers: int,
        output_size: int,
        activation: str | None = "relu",
        norm: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(num_layers):
            layers.append(nn.Linear(width, output_size))
            if norm is not None:
                layers.append(nn.LayerNorm(output_size))
            if activation is not None:
                layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = output_size
        self.width = width
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``float (batch, width)`` to ``float (batch, self.width)``."""
        outputs: Tensor = self.layers(inputs)
        return outputs
