"""What every split has in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import DataError, Problem, Registry, Section, param
from declarlm.data.columns import require

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

splits: Registry[Split] = Registry("split", package="declarlm.data.split")
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Tables:
    """The parts of a table, rows in the table's order; a part that is not wanted has no rows."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame

    @property
    def held_out(self) -> list[pd.DataFrame]:
        """The parts beside the training rows that have rows."""
        return [table for table in (self.validation, self.test) if len(table)]


class Split:
    """Say which part each row of a table belongs to, always the same for the same rows and seed."""

    class Config(Section):
        pass

    def __init__(self, config: Any) -> None:
        self.config = config

    def parts(self, table: pd.DataFrame, seed: int) -> np.ndarray[Any, Any]:
        """Return 0 (train), 1 (validation) or 2 (test) for each row, ``int64 (rows,)``.

        Raises:
            DataError: If the deciding column is missing or holds something unfit, or a wanted part stays empty.
        """
        raise NotImplementedError


class ShareSplit(Split):
    """Divide rows into parts of given shares.

    Attributes:
        foldable: Whether the parts may be the folds of a cross-validation.
    """

    foldable: ClassVar[bool] = True

    class Config(Split.Config):
        probabilities: list[float] = param(
            "Shares of the rows for train, validation and test; 0 leaves a part out.",
            default=[0.7, 0.1, 0.2],
            min=0,
            max=1,
        )

        def check(self) -> Iterable[Problem]:
            if len(self.probabilities) != len(PARTS):
                shares = f"{len(self.probabilities)} share{'s' * (len(self.probabilities) != 1)}"
                yield Problem("probabilities", f"must be three shares (train, validation, test), got {shares}")
            elif not math.isclose(sum(self.probabilities), 1, abs_tol=1e-6):
                yield Problem("probabilities", f"must sum to 1, got {sum(self.probabilities):g}")
            elif not self.probabilities[0]:
                yield Problem("probabilities", "must leave rows to train on, got 0 for train")

    def parts(self, table: pd.DataFrame, seed: int) -> np.ndarray[Any, Any]:
        import numpy as np

        found = self.assign(table, self.config.probabilities, seed)
        counts = np.bincount(found, minlength=len(PARTS))
        for part, share, count in zip(PARTS, self.config.probabilities, counts, strict=True):
            if share and not count:
                remedy = "set its share in preprocessing.split.probabilities to 0, or use another split type"
                raise DataError(f"splitting {len(table)} rows leaves none for {part} (share {share:g}); {remedy}")
        return found

    def assign(self, table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray[Any, Any]:
        """Return the part of each row, ``int64 (rows,)``, where part i is to have ``shares[i]`` of them.

        Raises:
            DataError: If the deciding column is missing or holds something unfit.
        """
        raise NotImplementedError


def divide(table: pd.DataFrame, config: Split.Config, seed: int) -> Tables:
    """Divide the rows into train, validation and test, the same way for the same seed on every machine.

    Raises:
        DataError: If a wanted part would be empty, or the column that decides is missing or unfit.
    """
    import numpy as np

    parts = config.build().parts(table, seed)
    return Tables(*(table.iloc[np.flatnonzero(parts == part)] for part in range(len(PARTS))))


def sizes(count: int, shares: Sequence[float]) -> np.ndarray[Any, Any]:
    """Return how many of ``count`` rows each part gets: its share, rounded, and at least one row if it has a share.

    >>> sizes(10, [0.7, 0.1, 0.2]).tolist(), sizes(4, [0.9, 0.1, 0.0]).tolist()
    ([7, 1, 2], [3, 1, 0])
    """
    import numpy as np

    exact = count * np.asarray(shares, dtype=np.float64)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    for part in np.flatnonzero((exact > 0) & (whole == 0)):
        if whole.max() > 1:
            whole[whole.argmax()] -= 1
            whole[part] += 1
    return whole


def codes_of(table: pd.DataFrame, column: str) -> np.ndarray[Any, Any]:
    """Return a number for each different cell of a column, -1 where it is missing, ``int64 (rows,)``.

    Raises:
        DataError: If the table has no such column.
    """
    import pandas as pd

    require(list(table.columns), [column], "preprocessing.split")
    cells = table[column]
    return pd.factorize(cells.map(str, na_action="ignore"))[0]
