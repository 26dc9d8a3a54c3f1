"""Splits: which rows are trained on, which tell when to stop, and which judge the result."""

from declarlm.data.split.base import Split, Tables, divide, splits
from declarlm.data.split.folds import back_test, k_folds

__all__ = ["Split", "Tables", "back_test", "divide", "k_folds", "splits"]
