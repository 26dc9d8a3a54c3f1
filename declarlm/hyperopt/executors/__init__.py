"""Executors: where trials run."""

from declarlm.hyperopt.executors.base import Executor, executors

__all__ = ["Executor", "executors"]
