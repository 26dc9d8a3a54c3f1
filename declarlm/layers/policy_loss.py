"""What is lost by answers that a model drew itself, from the log-probabilities of their tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def group_advantages(rewards: Tensor) -> Tensor:
    """Return how far each reward is above the mean of its group, in standard deviations, ``(groups, answers)``.

    Groups whose answers are all as good as each other get 0.
    """
    spread = rewards.std(dim=1, keepdim=True)
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return torch.where(spread > 1e-8, centred / (spread + 1e-8), torch.zeros_like(rewards))


def clipped_loss(
    log_probs: Tensor, drawn: Tensor, reference: Tensor, advantages: Tensor, *, epsilon: float, beta: float
) -> Tensor:
    """Return the loss of each token, ``(tokens,)``: minus the clipped advantage, plus ``beta`` times the divergence.

    The divergence from the reference is estimated as ``r - log r - 1``, where r is the reference's probability over
    the model's. Source: Shao et al., "DeepSeekMath", 2024, https://arxiv.org/abs/2402.03300, equations 3 and 4.

    Args:
        log_probs: Log-probabilities of the tokens, with their gradient, ``(tokens,)``.
        drawn: The same when the answers were drawn.
        reference: The same by the model that is not to be left.
        advantages: Advantage of each token's answer.
        epsilon: How far the ratio of probabilities counts from 1.
        beta: Weight of the divergence.
    """
    ratio = torch.exp(log_probs - drawn)
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - epsilon, 1 + epsilon) * advantages)
    apart = reference - log_probs
    return beta * (torch.exp(apart) - apart - 1) - gain
