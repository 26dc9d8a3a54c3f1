"""Rows of different lengths, laid end to end in one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

BORDER = -1  # stands in a row of token ids between what an encoder reads and what a decoder writes


@dataclass(frozen=True, eq=False)
class Ragged:
    """Variable-length rows without padding; both arrays may be memory-mapped.

    Attributes:
        values: All rows, one after another, ``(total,)``.
        offsets: Where each row starts, and the end of the last one, ``int64 (rows + 1,)``.
    """

    values: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int] | np.ndarray[Any, Any]], dtype: str = "int32") -> Ragged:
        """Lay ``rows`` end to end."""
        import numpy as np

        arrays = [np.asarray(row, dtype=dtype) for row in rows]
        offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays) if arrays else np.zeros(0, dtype=dtype), offsets)

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """Length of each row, ``int64 (rows,)``."""
        import numpy as np

        return np.diff(self.offsets)

    def take(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> Ragged:
        """Return the given rows, in the given order, as arrays in memory."""
        return Ragged.from_rows([self[int(row)] for row in rows], dtype=str(self.values.dtype))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray[Any, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        return (self[row] for row in range(len(self)))
