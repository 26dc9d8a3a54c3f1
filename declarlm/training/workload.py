"""What the trainer asks of the world around it, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class Workload(Protocol):
    """The training rows and their losses.

    Attributes:
        num_rows: Number of training rows.
        costs: Tokens that each row costs, ``(rows,)``; a micro-batch is bounded by their sum with padding.
        importance: Weight of each named loss in the total.
        rehearses: Whether steps are made to see that they can be, and then undone; the trainer sets it.
    """

    rehearses: bool
    num_rows: int
    costs: np.ndarray[Any, Any]
    importance: Mapping[str, float]

    def prepare(self, module: nn.Module, rows: np.ndarray[Any, Any], budget: int) -> None:
        """Find out what the losses of all rows of a step must know, before the first of them.

        Processes that train together all do so for all rows. ``budget`` is how many tokens fit into the module.
        """
        ...

    def weights(self, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        """Return what each loss is divided by over one optimizer step, such as its supervised tokens."""
        ...

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        """Return each loss summed over ``rows``, a scalar each."""
        ...


class Hook(Protocol):
    """Something that takes part in every step beside the module, such as an adapter that moves its rank."""

    def extra_loss(self) -> Tensor | None:
        """Return a scalar that is added to the loss once per optimizer step, or nothing."""
        ...

    def after_step(self, step: int) -> None:
        """Act after ``step`` optimizer steps (from 1), while the gradients are still there."""
        ...

    def settled(self) -> bool:
        """Return whether the present weights may be kept as the best, and training may stop early."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """Return what a checkpoint must hold beside the trainable weights."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` returned earlier."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """One evaluation during training.

    Attributes:
        step: Optimizer steps made so far.
        total: Optimizer steps in all, if nothing ends training early.
        epoch: Passes over the training rows made so far, with a fraction.
        training_loss: Mean loss of the steps since the last evaluation; NaN if all of them were skipped.
        metrics: What the evaluation measured, by name; empty without one.
        is_best: Whether no earlier evaluation was better.
        seconds: Training time so far, evaluations included.
    """

    step: int
    total: int
    epoch: float
    training_loss: float
    metrics: Mapping[str, float]
    is_best: bool
    seconds: float
