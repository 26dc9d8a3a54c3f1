"""Loss of a binary output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import param
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@losses.register("binary_weighted_cross_entropy")
class BinaryWeightedCrossEntropy(Loss):
    """Negative log-probability of the right one of two labels, in nats.

    Scores: log-odds of the positive label, ``float (rows, 1)``. Targets: 0 or 1, ``int64 (rows,)``.
    """

    accepts = frozenset({"binary"})

    class Config(Loss.Config):
        positive_class_weight: float | Literal["balanced"] | None = param(
            "Weight of a positive row; balanced: as many times as negative rows outnumber them.", default=None, above=0
        )
        label_smoothing: float = param("Share of the target spread over both labels.", default=0.0, min=0, below=1)

    @property
    def positive_weight(self) -> float:
        """Weight of a positive row; a negative one weighs 1."""
        given = self.config.positive_class_weight
        return self.counts[0] / max(self.counts[1], 1) if given == "balanced" else float(given or 1.0)

    def row_weights(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        weights: np.ndarray[Any, Any] = super().row_weights(targets) * np.where(targets == 1, self.positive_weight, 1.0)
        return weights

    def sum(self, scores: Tensor, targets: Tensor) -> Tensor:
        import torch
        from torch.nn import functional

        weights = torch.where(targets == 1, self.positive_weight, 1.0) * (targets >= 0)
        smoothing = self.config.label_smoothing
        wanted = targets.float() * (1.0 - smoothing) + 0.5 * smoothing
        rows = functional.binary_cross_entropy_with_logits(scores.squeeze(-1).float(), wanted, reduction="none")
        return (weights * rows).sum()
