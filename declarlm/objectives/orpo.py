"""Odds ratio preference optimization: finetuning and preferring at once, without a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import param
from declarlm.objectives.base import objectives
from declarlm.objectives.preference import Preference

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.models.pair_rows import PairRows

ANSWERS, ODDS = "answers", "odds"


@objectives.register("orpo")
class Orpo(Preference):
    """Finetune on the answers of the output column, and lower the odds of those of ``rejected_column`` beside them.

    The loss is the mean cross entropy of the chosen answers' tokens, plus ``beta`` times the mean over rows of
    ``-log sigmoid(log odds(chosen) - log odds(rejected))``, where the probability of an answer is the geometric mean
    of those of its tokens and its odds are ``p / (1 - p)``.
    Measured in validation, over pairs: ``preferences.accuracy``, the share with the higher mean log-probability of
    the chosen answer (ties count half), beside ``preferences.base_accuracy``, the same of the model before training,
    and ``preferences.margin``, the mean difference.
    Source: Hong et al., "ORPO", 2024, https://arxiv.org/abs/2403.07691, equations 6 and 7.
    """

    refers: ClassVar[bool] = False
    full_rate = 8e-6

    class Config(Preference.Config):
        beta: float = param(
            "Weight of the odds ratio beside the cross entropy; the paper calls it lambda.", default=0.1, above=0
        )

    def importance(self) -> Mapping[str, float]:
        return {ANSWERS: 1.0, ODDS: self.config.beta}

    def weights(self, store: PairRows, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        return {ANSWERS: float(store.num_answered[rows, 0].sum()), ODDS: float(len(rows))}

    def losses(
        self, store: PairRows, rows: np.ndarray[Any, Any], scores: Tensor, told: Any = None
    ) -> dict[str, Tensor]:
        import torch

        from declarlm.layers.preference_losses import log_odds, sigmoid_loss

        odds = log_odds(scores / torch.from_numpy(store.num_answered[rows]).to(scores))
        return {ANSWERS: -scores[:, 0].sum(), ODDS: sigmoid_loss(odds[:, 0] - odds[:, 1]).sum()}

    def rewards(
        self, store: PairRows, rows: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        means: np.ndarray[Any, Any] = scores / store.num_answered[rows]
        return means
