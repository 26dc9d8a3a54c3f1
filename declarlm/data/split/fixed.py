"""Fixed split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core import DataError, param
from declarlm.data.columns import require
from declarlm.data.split.base import PARTS, Split, splits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_NAMES = {name: part for part, name in enumerate(PARTS)} | {str(part): part for part in range(len(PARTS))}


@splits.register("fixed")
class FixedSplit(Split):
    """Read the part of each row from a column: ``train``, ``validation`` or ``test``, or 0, 1 or 2."""

    class Config(Split.Config):
        column: str = param("Column that names the part of each row.", default="split")

    def parts(self, table: pd.DataFrame, seed: int) -> np.ndarray[Any, Any]:
        import numpy as np

        column = self.config.column
        require(list(table.columns), [column], "preprocessing.split")
        parts = np.array([_part(cell) for cell in table[column].tolist()], dtype=np.int64)
        if (parts < 0).any():
            row = int((parts < 0).argmax())
            message = f"{table[column].iloc[row]!r} is no part of a split; write train, validation or test (or 0, 1, 2)"
            raise DataError(message, column=column, row=table.index[row])
        if not (parts == 0).any():
            raise DataError("no row is marked train (or 0)", column=column)
        return parts


def _part(cell: Any) -> int:
    """Return the number of the part that a cell names, -1 if it names none."""
    text = str(int(cell)) if isinstance(cell, float) and cell in (0.0, 1.0, 2.0) else str(cell).strip().lower()
    return _NAMES.get(text, -1)
