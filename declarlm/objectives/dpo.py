"""Direct preference optimization: prefer chosen answers to rejected ones, without a reward model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import Problem, param
from declarlm.objectives.base import objectives
from declarlm.objectives.preference import PREFERENCES, Preference

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.models.pair_rows import PairRows


@objectives.register("dpo")
class Dpo(Preference):
    """Prefer the answers of the output column to those of ``rejected_column``.

    The implicit reward of an answer is ``beta`` times what its log-probability, summed over its tokens, gained on
    the reference: the base with the adapter off, or, with ``pretrained_adapter_weights`` or without an adapter,
    the weights that training started from. The loss of a row is ``-log sigmoid(chosen - rejected reward)``.
    Measured in validation, over pairs: ``preferences.accuracy``, the share with the higher reward of the chosen
    answer (ties count half), ``preferences.margin``, the mean difference of the rewards, and
    ``preferences.likelier``, the share with the higher mean log-probability, each of the shares also for the base.
    Source: Rafailov et al., "Direct Preference Optimization", 2023, https://arxiv.org/abs/2305.18290, equation 7.
    """

    full_rate = 1e-6
    adapter_share = 0.5

    class Config(Preference.Config):
        beta: float = param("How strongly the model is held to the reference.", default=0.1, above=0)
        loss_type: Literal["sigmoid", "ipo", "hinge"] = param(
            "Loss of a margin: sigmoid (DPO), ipo (squared distance to 1 / (2 beta), of mean log-probabilities: "
            "https://arxiv.org/abs/2310.12036) or hinge (https://arxiv.org/abs/2305.10425).",
            default="sigmoid",
        )
        label_smoothing: float = param(
            "Share of rows whose answers are taken to be the wrong way round.", default=0.0, min=0, below=0.5
        )

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if self.label_smoothing and self.loss_type != "sigmoid":
                yield Problem("label_smoothing", f"has no effect on loss_type {self.loss_type!r}; leave it out")

    def losses(
        self, store: PairRows, rows: np.ndarray[Any, Any], scores: Tensor, told: Any = None
    ) -> dict[str, Tensor]:
        import torch

        from declarlm.layers.preference_losses import hinge_loss, ipo_loss, sigmoid_loss

        config = self.config
        gains = scores - torch.from_numpy(store.reference[rows]).to(scores)
        if config.loss_type == "ipo":
            gains = gains / torch.from_numpy(store.num_answered[rows]).to(scores)
            return {PREFERENCES: ipo_loss(gains[:, 0] - gains[:, 1], beta=config.beta).sum()}
        margins = config.beta * (gains[:, 0] - gains[:, 1])
        if config.loss_type == "hinge":
            return {PREFERENCES: hinge_loss(margins).sum()}
        return {PREFERENCES: sigmoid_loss(margins, smoothing=config.label_smoothing).sum()}

    def rewards(
        self, store: PairRows, rows: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        lengths = store.num_answered[rows] if self.config.loss_type == "ipo" else 1
        gains: np.ndarray[Any, Any] = self.config.beta * (scores - store.reference[rows]) / lengths
        return gains
