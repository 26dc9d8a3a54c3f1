"""Loss of an output that is one of some labels, or a list of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import DataError, Problem, param
from declarlm.core.errors import choose_from
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@losses.register("softmax_cross_entropy")
class SoftmaxCrossEntropy(Loss):
    """Negative log-probability of the right label, in nats; of a sequence, that of each word.

    Scores: logits, ``float (rows, labels)``. Targets: label ids, ``int64 (rows,)``, -1 where unknown.
    Label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7. Confidence penalty:
    Pereyra et al. 2017, https://arxiv.org/abs/1701.06548, here the entropy that is lacking to the largest one.
    """

    accepts = frozenset({"category", "sequence"})

    class Config(Loss.Config):
        class_weights: list[float] | dict[str, float] | Literal["balanced"] | None = param(
            "Weight of each label: in the order of the labels, by name (others weigh 1), or balanced: each label "
            "weighs the same in total.",
            default=None,
            min=0,
        )
        label_smoothing: float = param("Share of the target spread over all labels.", default=0.0, min=0, below=1)
        confidence_penalty: float = param("Weight of the penalty on sure predictions.", default=0.0, min=0)

        def check(self) -> Iterable[Problem]:
            weights = self.class_weights
            if isinstance(weights, list) and weights and not any(weights):
                yield Problem("class_weights", "must not all be 0: no row would count")

    def class_weights(self) -> np.ndarray[Any, Any]:
        """Return the weight of each label, ``float64 (labels,)``.

        Raises:
            DataError: If the config weighs a label that the column lacks, or not as many as there are, or none.
        """
        import numpy as np

        given = self.config.class_weights
        if given is None:
            return np.ones(len(self.labels))
        if given == "balanced":
            counts = np.maximum(np.array(self.counts, dtype=np.float64), 1.0)
            balanced: np.ndarray[Any, Any] = counts.sum() / (len(counts) * counts)
            return balanced
        if isinstance(given, dict):
            unknown = [label for label in given if label not in self.labels]
            if unknown:
                raise DataError(
                    f"loss.class_weights: no label is {choose_from(unknown[0], self.labels)}", column=self.column
                )
            given = [given.get(label, 1.0) for label in self.labels]
        if len(given) != len(self.labels):
            order = ", ".join(self.labels[:20])
            raise DataError(
                f"loss.class_weights has {len(given)} weights, but there are {len(self.labels)} labels: {order}",
                column=self.column,
            )
        if not any(given):
            raise DataError("loss.class_weights are 0 for every label: no row would count", column=self.column)
        return np.array(given, dtype=np.float64)

    def row_weights(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        known = super().row_weights(targets)
        weights: np.ndarray[Any, Any] = known * self.class_weights()[targets.clip(min=0)]
        return weights

    def sum(self, scores: Tensor, targets: Tensor) -> Tensor:
        import math

        import torch
        from torch.nn import functional

        weights = torch.as_tensor(self.class_weights(), dtype=torch.float32, device=scores.device)
        weights = torch.where(targets >= 0, weights[targets.clamp(min=0)], 0.0)
        scores = scores.float()
        losses_of_rows = functional.cross_entropy(
            scores, targets, reduction="none", ignore_index=-1, label_smoothing=self.config.label_smoothing
        )
        if self.config.confidence_penalty:
            log_shares = scores.log_softmax(-1)
            lacking = math.log(scores.shape[-1]) + (log_shares.exp() * log_shares).sum(-1)
            losses_of_rows = losses_of_rows + self.config.confidence_penalty * lacking
        return (weights * losses_of_rows).sum()
