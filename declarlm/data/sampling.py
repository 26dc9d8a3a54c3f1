"""Which rows are kept, left out or repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.data.preprocessing import Preprocessing

# A stream of random numbers for each purpose, so that sampling rows does not foretell their split.
SUBSAMPLE, SPLIT, RESAMPLE = range(3)


def shuffled(count: int, *key: int) -> np.ndarray[Any, Any]:
    """Return 0 to ``count - 1`` in an order that depends on nothing but ``key``, ``int64 (count,)``.

    The raw stream of PCG64 is what NumPy promises never to change (NEP 19); its shuffles are not.
    """
    import numpy as np

    return np.argsort(np.random.PCG64(list(key)).random_raw(count), kind="stable")


def subsample(table: pd.DataFrame, config: Preprocessing, seed: int) -> pd.DataFrame:
    """Return the share of the rows that ``sample_ratio`` or ``sample_size`` asks for, in their order; at least one."""
    import numpy as np

    size = round(config.sample_ratio * len(table)) if config.sample_size is None else config.sample_size
    size = max(size, 1)
    if size >= len(table):
        return table
    return table.iloc[np.sort(shuffled(len(table), seed, SUBSAMPLE)[:size])]


def resample(table: pd.DataFrame, label_column: str, config: Preprocessing, seed: int) -> pd.DataFrame:
    """Return training rows with more even labels, as ``oversample_minority`` or ``undersample_majority`` asks.

    With a ratio q, oversampling repeats rows of every label that has less than q times the rows of the most
    frequent one until it has that many; undersampling leaves out rows of every label that has more than 1 / q
    times the rows of the rarest one. Repeats are even: each row is taken once more before any is taken twice.
    Rows without a label are kept as they are, and rows stay in their order.
    """
    import numpy as np
    import pandas as pd

    codes, labels = pd.factorize(table[label_column])
    if len(labels) < 2 or config.oversample_minority is config.undersample_majority is None:
        return table
    counts = np.bincount(codes[codes >= 0])
    if config.oversample_minority is not None:
        targets = np.maximum(counts, np.rint(config.oversample_minority * counts.max()))
    else:
        targets = np.minimum(counts, np.rint(counts.min() / (config.undersample_majority or 1)))
    taken = [np.flatnonzero(codes < 0)]
    for code, target in enumerate(targets.astype(int)):
        rows = np.flatnonzero(codes == code)
        repeats, rest = divmod(target, len(rows))
        taken += [rows] * repeats + [rows[shuffled(len(rows), seed, RESAMPLE, code)[:rest]]]
    return table.iloc[np.sort(np.concatenate(taken))]
