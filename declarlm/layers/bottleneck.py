"""A small network behind a layer of a frozen base."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "bottleneck"  # of the network in its layer
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class Bottleneck(nn.Module):
    """Add to a layer's output what a network of two thin layers makes of it: ``y + up(f(down(y)))``.

    ``up`` starts at zero, so that it begins by adding nothing.

    Args:
        width: Numbers that the layer gives for each token.
        size: Numbers in the middle of the network.
        activation: Name of ``f``.
        dropout: Probability of zeroing an input of the network in training.
    """

    def __init__(self, width: int, size: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        self.activation, self.dropout = activation, dropout
        self.is_on = True
        nn.init.normal_(self.down.weight, std=0.02)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, plain: Tensor) -> Tensor:
        """Map what the layer gave to the same with the addition, of the same shape and type."""
        if not self.is_on:
            return plain
        read = functional.dropout(plain.to(self.down.weight.dtype), self.dropout, self.training)
        added: Tensor = self.up(ACTIVATIONS[self.activation](self.down(read)))
        return plain + added.to(plain.dtype)


def put_behind(layer: nn.Module, network: Bottleneck) -> None:
    """Let what a layer gives pass through a network, which becomes a part of it."""
    setattr(layer, NAME, network)
    layer.register_forward_hook(_pass_on)


def _pass_on(layer: nn.Module, _: object, given: Tensor) -> Tensor:
    # Found by its name, so that a copy of the layer uses its own.
    passed: Tensor = getattr(layer, NAME)(given)
    return passed
