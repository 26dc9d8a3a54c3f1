"""Metrics: how good predictions are, by type of output."""

from declarlm.metrics.base import Metric, Prediction, canonical, evaluate, goal_of, metrics, of_the_loss, usual
from declarlm.metrics.label_report import LabelReport, label_report

__all__ = [
    "LabelReport",
    "Metric",
    "Prediction",
    "canonical",
    "evaluate",
    "goal_of",
    "label_report",
    "metrics",
    "of_the_loss",
    "usual",
]
