"""Metrics of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from declarlm.metrics.base import Metric, Prediction, metrics


@metrics.register("cosine_similarity")
class CosineSimilarity(Metric):
    """Mean over rows of the cosine between the vector and its prediction; 0 where either has no length."""

    accepts = frozenset({"vector"})

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        import numpy as np

        true, found = (np.asarray(rows, dtype=np.float64) for rows in (truth, prediction.values))
        lengths = np.linalg.norm(true, axis=1) * np.linalg.norm(found, axis=1)
        products = (true * found).sum(axis=1)
        return float(np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1.0), 0.0).mean())
