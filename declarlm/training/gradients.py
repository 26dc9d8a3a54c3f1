"""The gradient of one optimizer step, from micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from declarlm.core import RunError
from declarlm.core.batching import by_length
from declarlm.training.group import Alone
from declarlm.training.precision import Precision, autocast, worth_a_pass
from declarlm.training.sharding import whole
from declarlm.training.workload import Hook, Workload

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from declarlm.training.config import GradientClipping, TrainerConfig


class Gradients:
    """Computes the loss of a step's rows and leaves its gradient, clipped, on the weights.

    The loss is normalised over the whole step, so that it does not depend on how rows are cut into micro-batches.
    """

    def __init__(
        self,
        module: nn.Module,
        workload: Workload,
        hooks: Sequence[Hook],
        *,
        clipping: GradientClipping,
        precision: Precision,
        device: torch.device,
        group: Alone,
    ) -> None:
        from declarlm.layers.dropout import quicken_dropout

        quicken_dropout(module)
        self.module, self.workload, self.hooks = module, workload, hooks
        self.clipping, self.precision, self.device, self.group = clipping, precision, device, group
        self.weights = [weight for weight in module.parameters() if weight.requires_grad]

    def compute(self, rows: np.ndarray[Any, Any], budget: int, scale: float = 1.0) -> Tensor:
        """Leave the gradients of this process's share of the rows on the weights, and return its loss.

        Args:
            rows: Those of the step.
            budget: Tokens of a micro-batch.
            scale: Factor of the gradients, but not of the loss that is returned.

        Raises:
            RuntimeError: If memory runs out; the gradients are then those of a part of the share.
        """
        import torch

        with autocast(self.precision, self.device):
            self.workload.prepare(self.module, rows, budget)
        denominators = self.workload.weights(rows)
        factors = {
            name: importance / denominators[name]
            for name, importance in self.workload.importance.items()
            if denominators[name] > 0
        }
        total = torch.zeros((), device=self.device)
        cut = partial(by_length, budget=budget, worth=worth_a_pass(self.device))
        for part, share in self.group.micro_batches(self.workload.costs[rows], cut):
            with autocast(self.precision, self.device):
                losses = self.workload.losses(self.module, rows[part])
            total += _backward([share * factor * losses[name] for name, factor in factors.items()], scale)
        if self.group.is_first:
            total += _backward([loss for hook in self.hooks if (loss := hook.extra_loss()) is not None], scale)
        return total

    def finish(self, total: Tensor, scale: float = 1.0) -> tuple[float, float]:
        """Return loss and length of the gradient of the whole step, and clip it; either may be non-finite.

        Args:
            total: The loss of this process's share of the rows.
            scale: Factor that the gradients have, and lose here.
        """
        import torch

        self.group.add_up(total, self.weights)
        for weight in self.weights if scale != 1.0 else ():
            if weight.grad is not None:
                weight.grad.div_(scale)
        loss, length = torch.stack([total, self._clip().to(total)]).tolist()
        return loss, length

    def _clip(self) -> Tensor:
        """Bound the gradients and return the length that they had, taken together."""
        import torch
        from torch.nn import utils

        clipping = self.clipping
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        length = whole(utils.get_total_norm(gradients))
        if clipping.clipglobalnorm is not None:
            utils.clip_grads_with_norm_(self.weights, clipping.clipglobalnorm, length)
        if clipping.clipnorm is not None:
            for weight in self.weights:
                utils.clip_grad_norm_(weight, clipping.clipnorm)
        if clipping.clipvalue is not None:
            utils.clip_grad_value_(self.weights, clipping.clipvalue)
        return length if gradients else torch.zeros(())


def _backward(losses: Sequence[Tensor], scale: float) -> Tensor | float:
    """Add ``scale`` times the gradient of the sum of ``losses`` to the weights, and return the sum."""
    if not losses:
        return 0.0
    loss = sum(losses[1:], losses[0])
    (loss if scale == 1.0 else loss * scale).backward()  # type: ignore[no-untyped-call]
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


def build_optimizer(
    config: TrainerConfig, module: nn.Module, parameter_groups: Sequence[Mapping[str, Any]]
) -> torch.optim.Optimizer:
    """Return a fresh optimizer of all trainable weights of a module.

    Raises:
        RunError: If a trainable weight is not in exactly one group or not float32, or a learning rate is unknown.
    """
    import torch

    names = {id(weight): name for name, weight in module.named_parameters() if weight.requires_grad}
    grouped = [id(weight) for group in parameter_groups for weight in group["params"]]
    if sorted(names) != sorted(grouped):
        wrong = [name for key, name in names.items() if grouped.count(key) != 1] or ["one that does not train"]
        raise RunError(f"each trainable weight must be in exactly one parameter group: {', '.join(wrong[:5])}")
    for name, weight in module.named_parameters():
        if weight.requires_grad and weight.dtype != torch.float32:
            kind = str(weight.dtype).removeprefix("torch.")
            raise RunError(
                f"weight {name} would train as {kind}, which rounds small updates away: trained weights must be "
                "float32; trainer.precision: bf16 gives the speed of bfloat16"
            )
    groups = [{"lr": config.learning_rate, **group} for group in parameter_groups]
    if any(group["lr"] == "auto" for group in groups):
        raise RunError("trainer.learning_rate is still 'auto' when training starts; give it a number")
    optimizer: torch.optim.Optimizer = config.optimizer.build().build(groups, groups[0]["lr"])
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
