"""Schedulers: which trials are worth going on with."""

from declarlm.hyperopt.schedulers.base import Scheduler, schedulers

__all__ = ["Scheduler", "schedulers"]
