"""The gradient of one optimizer step, from micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.batching import by_length
from declarlm.training.precision import Precision, autocast, worth_a_pass
from declarlm.training.workload import Hook, Workload

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from declarlm.training.config import GradientClipping


class Gradients:
    """Computes the loss of a step's rows and leaves its gradient, clipped, on the weights.

    The loss is normalised over the whole step, so that it does not depend on how rows are cut into micro-batches.
    """

    def __init__(
        self,
        module: nn.Module,
        workload: Workload,
        *,
        hooks: Sequence[Hook],
        clipping: GradientClipping,
        precision: Precision,
        device: torch.device,
    ) -> None:
        from declarlm.layers.dropout import quicken_dropout

        quicken_dropout(module)
        self.module, self.workload, self.hooks = module, workload, hooks
        self.clipping, self.precision, self.device = clipping, precision, device
        self.weights = [weight for weight in module.parameters() if weight.requires_grad]

    def compute(self, rows: np.ndarray[Any, Any], budget: int) -> tuple[float, float]:
        """Return the loss and the length of its gradient before clipping; either may be non-finite.

        Raises:
            RuntimeError: If memory runs out; the gradients are then those of a part of the rows.
        """
        import torch

        denominators = self.workload.weights(rows)
        factors = {
            name: importance / denominators[name]
            for name, importance in self.workload.importance.items()
            if denominators[name] > 0
        }
        total = torch.zeros((), device=self.device)
        for part in by_length(self.workload.costs[rows], budget, worth=worth_a_pass(self.device)):
            with autocast(self.precision, self.device):
                losses = self.workload.losses(self.module, rows[part])
            total += _backward([factor * losses[name] for name, factor in factors.items()])
        extra = [loss for hook in self.hooks if (loss := hook.extra_loss()) is not None]
        total += _backward(extra)
        loss, length = torch.stack([total, self._clip().to(total)]).tolist()
        return loss, length

    def _clip(self) -> Tensor:
        """Bound the gradients and return the length that they had, taken together."""
        import torch
        from torch.nn import utils

        clipping = self.clipping
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        length = utils.get_total_norm(gradients)
        if clipping.clipglobalnorm is not None:
            utils.clip_grads_with_norm_(self.weights, clipping.clipglobalnorm, length)
        if clipping.clipnorm is not None:
            for weight in self.weights:
                utils.clip_grad_norm_(weight, clipping.clipnorm)
        if clipping.clipvalue is not None:
            utils.clip_grad_value_(self.weights, clipping.clipvalue)
        return length if gradients else torch.zeros(())


def _backward(losses: Sequence[Tensor]) -> Tensor | float:
    """Add the gradient of the sum of ``losses`` to the weights and return the sum."""
    if not losses:
        return 0.0
    loss = sum(losses[1:], losses[0])
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def parameter_groups(
    module: nn.Module, learning_rate: float, *, include: Callable[[str], bool] = lambda name: True
) -> list[dict[str, Any]]:
    """Return the trainable weights whose name passes ``include``, biases and norms apart and without weight decay."""
    chosen = [weight for name, weight in module.named_parameters() if weight.requires_grad and include(name)]
    matrices = [weight for weight in chosen if weight.ndim > 1]
    vectors = [weight for weight in chosen if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices, "lr": learning_rate}]
    groups.append({"params": vectors, "lr": learning_rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
