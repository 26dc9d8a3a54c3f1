"""Pooling: from one vector a token to one vector a row, padding left out."""

from __future__ import annotations

import torch
from torch import Tensor


def pool(tokens: Tensor, mask: Tensor, how: str) -> Tensor:
    """Return one vector a row, ``float (batch, width)``.

    Args:
        tokens: One vector a token, ``float (batch, length, width)``.
        mask: Which tokens are real, ``bool (batch, length)``; at least one in each row.
        how: ``mean``, ``sum``, ``max``, ``cls`` (the first token) or ``last`` (the last real one).
    """
    if how == "cls":
        return tokens[:, 0]
    if how == "last":
        places = torch.arange(tokens.shape[1], device=tokens.device)
        last = torch.where(mask, places, -1).amax(dim=1)
        return tokens[torch.arange(len(tokens), device=tokens.device), last]
    keep = mask.unsqueeze(-1)
    if how == "max":
        return tokens.masked_fill(~keep, -torch.inf).amax(dim=1)
    # Not a product with the mask: a padded place may hold NaN, which times 0 is NaN.
    total = tokens.masked_fill(~keep, 0.0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True) if how == "mean" else total
