"""What every loss has in common: a sum over rows, and its denominator, which needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import Registry, Section, param

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

losses: Registry[Loss] = Registry("loss", package="declarlm.losses")


class Loss:
    """Compare a head's scores with the targets of one output feature.

    The loss of an optimizer step is ``sum(scores, targets)`` over all its micro-batches, divided by
    ``denominator(targets)`` of all its rows, so that it does not depend on how the step was cut.

    Attributes:
        accepts: Types of output features that the loss fits.
        model_types: Model types that it trains.
        labels: The output's labels, in the order of the scores; empty for numbers.
        counts: How many training rows have each label.
        column: Column of the output, for messages.
    """

    accepts: ClassVar[frozenset[str]]
    model_types: ClassVar[frozenset[str]] = frozenset({"ecd"})

    class Config(Section):
        weight: float = param("Importance of this output among the outputs.", default=1.0, min=0)

    def __init__(
        self, config: Any, *, labels: Sequence[str] = (), counts: Sequence[int] = (), column: str = ""
    ) -> None:
        self.config = config
        self.labels = list(labels)
        self.counts = list(counts)
        self.column = column

    def row_weights(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the weight of each row, ``float64 (rows,)``; 0 where the target is unknown (-1 or NaN)."""
        import numpy as np

        known = ~np.isnan(targets) if targets.dtype.kind == "f" else targets >= 0
        weights: np.ndarray[Any, Any] = known.astype(np.float64)
        return weights

    def denominator(self, targets: np.ndarray[Any, Any]) -> float:
        """Return what the sum is divided by: the weights of the rows, summed."""
        return float(self.row_weights(targets).sum())

    def sum(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted sum over the rows, a scalar; unknown targets add nothing.

        Args:
            scores: What the head gave, ``float (rows, num_scores)``.
            targets: Label ids ``int64 (rows,)`` or numbers ``float32 (rows,)``.
        """
        raise NotImplementedError
