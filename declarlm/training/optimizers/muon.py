"""Muon for the matrices inside a network, AdamW for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core import param
from declarlm.training.optimizers.base import AdamConfig, Optimizer, optimizers

if TYPE_CHECKING:
    import torch


@optimizers.register("muon")
class Muon(Optimizer):
    """Step along the nearest orthogonal matrix to each matrix's momentum; fewer steps than Adam from scratch.

    Embeddings and vectors take AdamW's step, as Muon is made for matrices that map hidden vectors. The size of
    Muon's step is matched to that of AdamW, so both take the same learning rate. It suits training from scratch
    (``trainer.type: pretrain``); adapters are better off with AdamW.

    Source: Jordan et al., "Muon", 2024, https://kellerjordan.github.io/posts/muon/; the matched step: Liu et al.,
    2025, https://arxiv.org/abs/2502.16982, equation 4.
    """

    can_shard = False

    class Config(AdamConfig):
        weight_decay: float = param("Share of each matrix taken off per unit of learning rate.", default=0.1, min=0)
        momentum: float = param("Decay of a matrix's momentum.", default=0.95, min=0, below=1)

    def build(self, groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
        import torch

        config = self.config
        hidden = [group for group in groups if _is_hidden(group)]
        others = [group for group in groups if not _is_hidden(group)]

        class Both(torch.optim.Optimizer):
            """Two optimizers that share groups and state, and so look like one."""

            def __init__(self) -> None:
                super().__init__([{**group} for group in [*hidden, *others]], {"lr": learning_rate})
                self.parts: list[torch.optim.Optimizer] = []
                if hidden:
                    self.parts.append(_muon(torch, hidden, learning_rate, config))
                if others:
                    self.parts.append(_adamw(torch, others, learning_rate, config))
                self.param_groups = [group for part in self.parts for group in part.param_groups]
                for part in self.parts:
                    part.state = self.state

            def step(self, closure: Any = None) -> None:  # type: ignore[override]
                for part in self.parts:
                    part.step()

        return Both()


def _is_hidden(group: dict[str, Any]) -> bool:
    return not group.get("is_embedding", False) and all(weight.ndim == 2 for weight in group["params"])


def _muon(torch: Any, groups: list[dict[str, Any]], learning_rate: float, config: Any) -> Any:
    return torch.optim.Muon(
        groups,
        lr=learning_rate,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
        adjust_lr_fn="match_rms_adamw",
    )


def _adamw(torch: Any, groups: list[dict[str, Any]], learning_rate: float, config: Any) -> Any:
    betas = (config.betas[0], config.betas[1])
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=config.eps, weight_decay=0.0, fused=True)
