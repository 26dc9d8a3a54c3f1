"""How the learning rate changes over the optimizer steps."""

from declarlm.training.schedules.base import Schedule, schedules

__all__ = ["Schedule", "schedules"]
