"""Losses that compare answers, from the log-probabilities of whole answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def sigmoid_loss(margins: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Return the negative log-probability that the first answer is preferred, ``(rows,)``.

    Args:
        margins: By how much the reward of the first answer is above that of the second, ``(rows,)``.
        smoothing: Share of rows in which the second answer is taken to be the better one.
    """
    return -(1 - smoothing) * functional.logsigmoid(margins) - smoothing * functional.logsigmoid(-margins)


def hinge_loss(margins: Tensor) -> Tensor:
    """Return by how much each margin is below 1, ``(rows,)``."""
    return functional.relu(1 - margins)


def ipo_loss(differences: Tensor, *, beta: float) -> Tensor:
    """Return the squared distance of each difference of log-ratios from ``1 / (2 beta)``, ``(rows,)``."""
    return (differences - 1 / (2 * beta)).square()


def log_odds(log_probs: Tensor) -> Tensor:
    """Return the logarithm of p / (1 - p) from that of p, which is at most 0."""
    # Where p is 1 to the last bit, the odds would be infinite, and so would the gradient.
    log_probs = log_probs.clamp(max=-torch.finfo(log_probs.dtype).eps)
    near = torch.log(-torch.expm1(log_probs))
    far = torch.log1p(-torch.exp(log_probs))
    return log_probs - torch.where(log_probs > -math.log(2), near, far)
