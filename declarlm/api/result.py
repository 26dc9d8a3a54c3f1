"""What a training left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from declarlm.api.training import Metrics

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.api.model import DeclarLM


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training left.

    Attributes:
        directory: The run directory.
        metrics: Value by split, output feature and metric.
        history: One row for each evaluation during training.
        model: The trained model, ready to predict.
    """

    directory: Path
    metrics: Metrics
    history: pd.DataFrame
    model: DeclarLM
