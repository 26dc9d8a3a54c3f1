"""What an encoder's module returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Hidden:
    """Hidden vectors of a batch.

    Attributes:
        pooled: One vector a row, ``float (batch, width)``.
        tokens: One vector a token, ``float (batch, length, width)``, where the encoder has them.
        mask: Which tokens are real, ``bool (batch, length)``, True = keep.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    mask: Tensor | None = None
