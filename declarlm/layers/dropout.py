"""Dropout that is cheap to draw on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_STEPS = 1 << 16  # a probability is rounded to 1/65536, so that one 64-bit random number decides four values


class Dropout(nn.Dropout):
    """As ``nn.Dropout``, with masks from a quarter as many random numbers while training on a CPU.

    PyTorch draws a 64-bit number for each value there, on one core, unless the processor is Intel's: with dropout
    before each of the many small matrices of an adapter that was a quarter of a training step.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Zero values of ``(*)`` with probability ``p`` and scale the others, while training."""
        share = round(self.p * _STEPS)
        if not self.training or values.device.type != "cpu" or share in (0, _STEPS):
            return super().forward(values)
        dropped: Tensor = _Drop.apply(values, share)  # type: ignore[no-untyped-call]
        return dropped


class _Drop(torch.autograd.Function):
    """Multiplies by a mask of zeros and the scale."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, share: int) -> Tensor:
        numbers = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
        kept = numbers.view(torch.int16)[: values.numel()].view(values.shape) >= share - _STEPS // 2
        mask = kept.to(values.dtype).mul_(_STEPS / (_STEPS - share))
        ctx.save_for_backward(mask)
        return values * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


def quicken_dropout(module: nn.Module) -> None:
    """Let each ``nn.Dropout`` within a module draw its masks as `Dropout` does."""
    for part in module.modules():
        if type(part) is nn.Dropout and not part.inplace:
            part.__class__ = Dropout
