"""Objectives: what is learned from a table, and how the trainer gets it in batches."""

from declarlm.objectives.base import Objective, Supervised, objectives

__all__ = ["Objective", "Supervised", "objectives"]
