"""Losses, by what they compare."""

from declarlm.losses.base import Loss, losses

__all__ = ["Loss", "losses"]
