"""Several splits of one table: cross-validation and back-tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from declarlm.core import ConfigError, DataError, Problem
from declarlm.data.split.base import ShareSplit, Split, Tables, splits
from declarlm.data.split.datetime import DatetimeSplit

if TYPE_CHECKING:
    import pandas as pd


def k_folds(table: pd.DataFrame, config: Split.Config, folds: int, seed: int) -> Iterator[Tables]:
    """Yield ``folds`` splits in which every row is tested once.

    The split's type makes the folds: plain, stratified, by group or by hash. What is not tested is divided into
    train and validation as the split's first two probabilities say.

    Raises:
        ConfigError: If the split's type cannot make folds.
        DataError: If there are fewer than two folds, or more than rows, labels' rows or groups can fill.
    """
    import numpy as np

    split = config.build()
    if not (isinstance(split, ShareSplit) and split.foldable):
        fitting = [name for name in splits if getattr(splits[name], "foldable", False)]
        message = f"{config.type!r} cannot make folds, choose from: {', '.join(fitting)}"
        raise ConfigError("config", [Problem("preprocessing.split.type", message)])
    if folds < 2:
        raise DataError(f"cross-validation needs at least 2 folds, got {folds}")
    fold_of = split.assign(table, [1 / folds] * folds, seed)
    if len(np.unique(fold_of)) < folds:
        raise DataError(f"{folds} folds are too many for {len(table)} rows: one would be empty")
    train, validation, _ = split.config.probabilities
    shares = [train / (train + validation), validation / (train + validation)]
    for fold in range(folds):
        rest = table.iloc[np.flatnonzero(fold_of != fold)]
        parts = split.assign(rest, shares, seed + 1)  # Drawn apart from the folds.
        yield Tables(
            train=rest.iloc[np.flatnonzero(parts == 0)],
            validation=rest.iloc[np.flatnonzero(parts == 1)],
            test=table.iloc[np.flatnonzero(fold_of == fold)],
        )


def back_test(table: pd.DataFrame, column: str, windows: int, datetime_format: str | None = None) -> Iterator[Tables]:
    """Yield ``windows`` splits that roll forward in time, the oldest first.

    The rows are cut by time into ``windows + 2`` stretches of equal size. Window i trains on the stretches up to
    i, validates on the next one and tests on the one after, so nothing is learned from the future.

    Raises:
        DataError: If the column is missing or holds no dates, or there are too few different dates.
    """
    import numpy as np

    if windows < 1:
        raise DataError(f"a back-test needs at least 1 window, got {windows}")
    split = DatetimeSplit(DatetimeSplit.Config(column=column, datetime_format=datetime_format))
    stretches = windows + 2
    stretch = split.assign(table, [1 / stretches] * stretches, seed=0)
    if len(np.unique(stretch)) < stretches:
        message = f"{windows} windows need rows at {stretches} different times at least, evenly spread"
        raise DataError(message, column=column)
    for window in range(windows):
        yield Tables(
            train=table.iloc[np.flatnonzero(stretch <= window)],
            validation=table.iloc[np.flatnonzero(stretch == window + 1)],
            test=table.iloc[np.flatnonzero(stretch == window + 2)],
        )
