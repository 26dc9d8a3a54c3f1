"""How well numbers tell better answers from worse ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def share_above(better: np.ndarray[Any, Any], worse: np.ndarray[Any, Any]) -> float:
    """Return the share of rows in which one number is above the other; ties count half."""
    return float(((better > worse) + 0.5 * (better == worse)).mean())


def share_of_all(numbers: np.ndarray[Any, Any], good: np.ndarray[Any, Any]) -> float:
    """Return the share of all pairs of a good and a bad row in which the good one has the higher number.

    Ties count half. It is NaN without rows of both kinds.
    """
    import numpy as np

    if good.all() == good.any():
        return math.nan
    bad = np.sort(numbers[~good])
    below = np.searchsorted(bad, numbers[good], "left") + np.searchsorted(bad, numbers[good], "right")
    return float(below.mean() / (2 * len(bad)))
