"""How gradients change weights."""

from declarlm.training.optimizers.base import Optimizer, optimizers

__all__ = ["Optimizer", "optimizers"]
