"""The trainer's section, and the number of steps that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from declarlm.core import Problem, Section, param
from declarlm.training.optimizers import Optimizer, optimizers
from declarlm.training.schedules import Schedule, schedules


class GradientClipping(Section):
    """How gradients are bounded before each update."""

    clipglobalnorm: float | None = param(
        "Largest length of all gradients taken as one vector; null for no bound.", default=1.0, above=0
    )
    clipnorm: float | None = param("Largest length of each weight's gradient.", default=None, above=0)
    clipvalue: float | None = param("Largest absolute value in any gradient.", default=None, above=0)


class TrainerConfig(Section):
    """How weights are trained. An objective's section extends this one by what its loss needs."""

    measures: ClassVar[Mapping[str, Any]] = {}  # metrics of an objective's own, with their goals; the first decides

    epochs: int = param("Passes over the training rows.", default=3, min=1)
    train_steps: int | None = param("Optimizer steps in all; overrides epochs.", default=None, min=1)
    learning_rate: float | Literal["auto"] = param(
        "Highest learning rate; auto is the best known for the objective and the adapter.", default="auto", above=0
    )
    learning_rate_scheduler: Schedule.Config = param(
        "How the learning rate changes over the steps.", registry=schedules, default="cosine"
    )
    optimizer: Optimizer.Config = param("How gradients change weights.", registry=optimizers, default="adamw")
    batch_size: int | Literal["auto"] = param(
        "Rows of a batch; auto is near a third of the square root of the rows, from 4 to 128.", default="auto", min=1
    )
    gradient_accumulation_steps: int | Literal["auto"] = param(
        "Batches that make one optimizer step; memory does not depend on it.", default="auto", min=1
    )
    effective_batch_size: int | Literal["auto"] = param(
        "Rows of one optimizer step: batch_size * gradient_accumulation_steps.", default="auto", min=1
    )
    max_tokens_per_micro_batch: int | Literal["auto"] = param(
        "Tokens, with padding, that pass through the model at once; halved when memory runs out.",
        default="auto",
        min=1,
    )
    eval_batch_size: int | Literal["auto"] | None = param(
        "Rows of a batch in evaluation; null or auto bounds it by tokens.", default=None, min=1
    )
    eval_steps: int | None = param(
        "Optimizer steps between evaluations; null evaluates after every epoch.", default=None, min=1
    )
    evaluate_training_set: bool = param("Whether each evaluation also covers the training rows.", default=False)
    skip_all_evaluation: bool = param("Whether to train without any evaluation.", default=False)
    validation_field: str | None = param(
        "Output feature that decides which weights are best; null is the first, or all of them by their loss.",
        default=None,
    )
    validation_metric: str | None = param(
        "Metric that decides which weights are best; null is the default of the output's type.", default=None
    )
    early_stop: int = param(
        "Evaluations in a row without a better one after which training ends; -1 for never.", default=5, min=-1
    )
    steps_per_checkpoint: int = param(
        "Optimizer steps between checkpoints, beside the one at each evaluation; 0 for none.", default=0, min=0
    )
    checkpoints_per_epoch: int = param("Checkpoints in each epoch; 0 for one at each evaluation.", default=0, min=0)
    gradient_clipping: GradientClipping = param("How gradients are bounded.", default=GradientClipping())
    precision: Literal["auto", "fp32", "bf16", "fp16"] = param(
        "Arithmetic of the forward pass; auto is dtype, or else bf16 where the device gains by it. fp16 is for GPUs "
        "without bf16, and scales the loss.",
        default="auto",
    )
    enable_gradient_checkpointing: bool = param(
        "Whether activations are computed again in the backward pass: less memory, a third more time.", default=False
    )
    should_shuffle: bool = param("Whether each epoch has its own order of rows.", default=True)

    def decides(self, outputs: Sequence[Any]) -> str | None:
        """Return the measure of the objective's own that chooses the best weights unless the config names another."""
        return next(iter(self.measures), None)

    def check(self) -> Iterable[Problem]:
        """Yield clashes between the three batch sizes, between the two checkpoint keys, and a zero early_stop."""
        effective = self.effective_batch_size
        if effective != "auto":
            sizes = {"batch_size": self.batch_size, "gradient_accumulation_steps": self.gradient_accumulation_steps}
            given = {name: size for name, size in sizes.items() if size != "auto"}
            product = math.prod(given.values())
            if len(given) == 2 and effective != product:
                remedy = f"batch_size * gradient_accumulation_steps ({product}), or left out"
                yield Problem("effective_batch_size", f"must be {remedy}, got {effective}")
            elif effective % product:
                yield Problem(
                    "effective_batch_size", f"must be a multiple of {next(iter(given))} ({product}), got {effective}"
                )
        if self.steps_per_checkpoint and self.checkpoints_per_epoch:
            yield Problem("checkpoints_per_epoch", "cannot be given together with steps_per_checkpoint, choose one")
        if self.early_stop == 0:
            yield Problem("early_stop", "must be at least 1, or -1 for never, got 0")


@dataclass(frozen=True)
class Steps:
    """How a number of rows becomes optimizer steps.

    Attributes:
        batch_size: Rows of a batch.
        gradient_accumulation_steps: Batches of an optimizer step.
        rows_per_step: Rows of an optimizer step; the last step of an epoch may have fewer.
        per_epoch: Optimizer steps of one pass over the rows.
        total: Optimizer steps in all.
    """

    batch_size: int
    gradient_accumulation_steps: int
    rows_per_step: int
    per_epoch: int
    total: int


def plan_steps(config: TrainerConfig, num_rows: int) -> Steps:
    """Return the steps that training on ``num_rows`` rows takes; known before any model is loaded."""
    batch, accumulation = config.batch_size, config.gradient_accumulation_steps
    if config.effective_batch_size != "auto":
        if batch == "auto":
            batch = config.effective_batch_size // (1 if accumulation == "auto" else accumulation)
        accumulation = config.effective_batch_size // batch
    if batch == "auto":
        batch = _batch_size(num_rows)
    if accumulation == "auto":
        accumulation = 1
    rows_per_step = min(batch * accumulation, num_rows)
    per_epoch = math.ceil(num_rows / rows_per_step)
    total = config.train_steps or config.epochs * per_epoch
    return Steps(batch, accumulation, rows_per_step, per_epoch, total)


def _batch_size(num_rows: int) -> int:
    """Return a power of two from 4 to 128 near a third of the square root of the rows.

    Micro-batches bound the memory, so the batch size is only a matter of optimization: small enough for
    hundreds of updates on a few thousand rows, and the same on every machine.
    """
    exponent = round(math.log2(math.sqrt(num_rows) / 3))
    return 1 << min(7, max(2, exponent))
