"""Modules that join the hidden vectors of several inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from declarlm.layers.hidden import Hidden


class Concat(nn.Module):
    """Lay vectors side by side and pass them through ``layers``."""

    def __init__(self, layers: nn.Module, width: int) -> None:
        super().__init__()
        self.layers = layers
        self.width = width

    def forward(self, hidden: Mapping[str, Hidden]) -> Tensor:
        """Map one vector an input, ``float (batch, its width)``, to ``float (batch, width)``."""
        joined: Tensor = self.layers(torch.cat([one.pooled for one in hidden.values()], dim=-1))
        return joined


class Comparator(nn.Module):
    """Compare the vectors u and v of two groups of inputs: ``u, v, |u - v|, u * v`` and their cosine.

    u and v are first brought to length 1, and their product is multiplied by the square root of their width, so
    that every part has a length near 1 and none drowns the cosine.

    Args:
        entities: Names of the inputs of each group.
        sizes: Length of each group's vectors, taken together.
        project_to: Length that both are projected to, None to take them as they are.
        layers: What the comparison passes through.
        width: Length of the vector that ``layers`` gives.
    """

    def __init__(
        self, entities: list[list[str]], sizes: list[int], project_to: int | None, layers: nn.Module, width: int
    ) -> None:
        super().__init__()
        self.entities = entities
        self.projections = nn.ModuleList(
            nn.Identity() if project_to is None else nn.Linear(size, project_to) for size in sizes
        )
        self.layers = layers
        self.width = width

    def forward(self, hidden: Mapping[str, Hidden]) -> Tensor:
        """Map one vector an input, ``float (batch, its width)``, to ``float (batch, width)``."""
        u, v = (
            nn.functional.normalize(projection(torch.cat([hidden[name].pooled for name in entity], dim=-1)), dim=-1)
            for entity, projection in zip(self.entities, self.projections, strict=True)
        )
        product = u * v
        cosine = product.sum(dim=-1, keepdim=True)
        compared: Tensor = self.layers(torch.cat([u, v, (u - v).abs(), product * u.shape[-1] ** 0.5, cosine], dim=-1))
        return compared
