"""The loss that draws the vectors of what belongs together to each other, and apart from all others."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrast_losses(vectors: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """Return the loss of each row, ``float (rows,)``: how badly its partner stands out among all candidates.

    Candidates are the partners of all rows, and all texts that are said to be wrong. Those that belong to the row's
    own group are no wrong answers, and left out, but for its own partner.
    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018,
    https://arxiv.org/abs/1807.03748, equation 4, on the cosines of unit vectors divided by a temperature.

    Args:
        vectors: Unit vectors of each row: the text, its partner, and any wrong ones,
            ``float (rows, 2 or more, width)``.
        groups: Which rows belong together, ``int64 (rows,)``.
        temperature: What cosines are divided by.
    """
    texts, candidates = vectors[:, 0], vectors[:, 1:].transpose(0, 1).flatten(0, 1)
    scores = texts @ candidates.T / temperature
    rows = torch.arange(len(vectors), device=vectors.device)
    related = (groups[:, None] == groups[None, :]) & (rows[:, None] != rows[None, :])
    scores[:, : len(rows)] = scores[:, : len(rows)].masked_fill(related, -torch.inf)
    return functional.cross_entropy(scores, rows, reduction="none")


def share_nearest(texts: Tensor, candidates: Tensor, groups: Tensor, *, same: bool, block: int = 512) -> float:
    """Return the share of texts whose nearest candidate belongs to their group.

    Args:
        texts: Unit vectors, ``float (rows, width)``.
        candidates: Unit vectors, row by row, ``float (rows, width)``.
        groups: Which rows belong together, ``int64 (rows,)``.
        same: Whether texts and candidates are the same, so that a text's own vector is no candidate.
        block: Texts that are compared at once.
    """
    right = 0
    for start in range(0, len(texts), block):
        scores = texts[start : start + block] @ candidates.T
        if same:
            places = torch.arange(len(scores), device=scores.device)
            scores[places, places + start] = -torch.inf
        right += int((groups[scores.argmax(1)] == groups[start : start + block]).sum())
    return right / len(texts) if len(texts) else float("nan")
