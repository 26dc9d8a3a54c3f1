"""Trainings on several parts of one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from declarlm.data.split import Tables

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.api.model import DeclarLM


def train_each(model: DeclarLM, parts: Iterator[Tables], *, output: Path, name: str) -> pd.DataFrame:
    """Train a copy of a model, as it was configured, on each of several parts, and return their test metrics.

    Returns:
        A row for each part, columns ``<output>.<metric>``.
    """
    import pandas as pd

    rows = []
    for number, part in enumerate(parts, 1):
        one = type(model)(model.config.dump(), device=model.device)
        held_out = part.validation if len(part.validation) else None
        run = one.train(part.train, validation=held_out, test=part.test, output=output, name=f"{name}_{number}")
        metrics = run.metrics["test"].items()
        rows.append({f"{out}.{metric}": value for out, values in metrics for metric, value in values.items()})
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name=name))
