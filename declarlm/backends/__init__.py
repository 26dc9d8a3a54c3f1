"""Backends: where a training and the predictions for a table run."""

from declarlm.backends.base import Backend, Job, Seat, backends

__all__ = ["Backend", "Job", "Seat", "backends"]
