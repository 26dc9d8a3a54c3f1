"""Loss of an output that is any number of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core import param
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@losses.register("sigmoid_cross_entropy")
class SigmoidCrossEntropy(Loss):
    """Mean over the labels of the negative log-probability of what each of them is, there or not, in nats.

    Scores: log-odds of each label, ``float (rows, labels)``. Targets: 1 or 0, ``float (rows, labels)``, NaN where
    unknown.
    """

    accepts = frozenset({"set"})

    class Config(Loss.Config):
        positive_class_weight: float = param(
            "Weight of a label that is there; one that is not weighs 1.", default=1.0, above=0
        )

    def row_weights(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        known: np.ndarray[Any, Any] = (~np.isnan(targets)).all(axis=-1).astype(np.float64)
        return known

    def sum(self, scores: Tensor, targets: Tensor) -> Tensor:
        from torch.nn import functional

        known = ~targets.isnan().any(dim=-1)
        weight = scores.new_tensor(self.config.positive_class_weight).float()
        rows = functional.binary_cross_entropy_with_logits(
            scores[known].float(), targets[known].float(), reduction="none", pos_weight=weight
        )
        return rows.mean(dim=-1).sum()
