"""Which rows of a table belong together by their labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PAIRS, MOST = 2000, 20  # pairs that ``auto`` aims at, and the most that one row is part of as the first


def pairs_of_labels(labels: np.ndarray[Any, Any], per_row: int | None) -> np.ndarray[Any, Any]:
    """Return pairs of different rows that have the same label, at random but always the same, ``int64 (pairs, 2)``.

    Each row is the first of ``per_row`` pairs, or of as many as there are other rows with its label.

    Args:
        labels: Label of each row, ``int64 (rows,)``.
        per_row: How many; None for as many as make some 2,000 pairs in all, from 1 to 20.
    """
    import numpy as np

    drawn = np.random.default_rng(0)
    most = min(MOST, max(1, PAIRS // max(1, len(labels)))) if per_row is None else per_row
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for label in np.unique(labels):
        ring = drawn.permutation(np.flatnonzero(labels == label))  # the partners of a row are the next ones in it
        pairs += [np.stack([ring, np.roll(ring, -step)], axis=1) for step in range(1, min(most, len(ring) - 1) + 1)]
    return drawn.permutation(np.concatenate(pairs))
