"""What every optimizer has in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import Problem, Registry, Section, param

if TYPE_CHECKING:
    import torch

optimizers: Registry[Optimizer] = Registry("optimizer", package=__package__)


class Optimizer:
    """Make an optimizer of a well-kept library.

    Attributes:
        can_shard: Whether it updates each number of a weight by itself, so that parts of weights are enough.
    """

    can_shard: ClassVar[bool] = True

    class Config(Section):
        weight_decay: float = param(
            "Share of each weight that is taken off per unit of learning rate; not from biases, norms and adapters.",
            default=0.0,
            min=0,
        )

    def __init__(self, config: Any) -> None:
        self.config = config

    def build(self, groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
        """Return the optimizer of ``groups``: ``params``, and ``lr`` and ``weight_decay`` where they differ.

        Raises:
            RunError: If this machine cannot run it.
        """
        raise NotImplementedError


class AdamConfig(Optimizer.Config):
    """What all kinds of Adam share."""

    betas: list[float] = param(
        "Decay of the running averages of gradients and of their squares.", default=[0.9, 0.999], min=0, below=1
    )
    eps: float = param("Added to the denominator.", default=1e-8, above=0)

    def check(self) -> Iterable[Problem]:
        """Yield a wrong number of betas."""
        if len(self.betas) != 2:
            yield Problem("betas", f"must be two numbers, got {len(self.betas)}")
