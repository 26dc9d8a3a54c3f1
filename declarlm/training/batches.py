"""Which rows a step takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Rows = np.ndarray[Any, Any]


class Order:
    """The order of the training rows: a function of the seed and the epoch, so that a position is an integer."""

    def __init__(self, num_rows: int, rows_per_step: int, steps_per_epoch: int, *, seed: int, shuffle: bool) -> None:
        self.num_rows, self.rows_per_step, self.steps_per_epoch = num_rows, rows_per_step, steps_per_epoch
        self.seed, self.shuffle = seed, shuffle
        self._epoch: int | None = None
        self._permutation: Rows

    def rows(self, step: int) -> Rows:
        """Return the rows of optimizer step ``step`` (from 0)."""
        import numpy as np

        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            everything = np.arange(self.num_rows)
            generator = np.random.default_rng([self.seed, epoch])
            self._permutation = generator.permutation(everything) if self.shuffle else everything
            self._epoch = epoch
        start = position * self.rows_per_step
        return self._permutation[start : start + self.rows_per_step]
