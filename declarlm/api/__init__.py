"""The main path in Python: ``DeclarLM`` and what its verbs return."""

from declarlm.api.model import DeclarLM
from declarlm.api.result import TrainResult
from declarlm.api.resuming import resume_training
from declarlm.api.sweeping import HyperoptResult, SweepError, resume_sweep
from declarlm.api.training import Metrics

__all__ = ["DeclarLM", "HyperoptResult", "Metrics", "SweepError", "TrainResult", "resume_sweep", "resume_training"]
