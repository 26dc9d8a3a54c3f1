"""The loop: one generator over one state, for every model and every objective."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from declarlm.core import RunError
from declarlm.core.device import is_out_of_memory, release_memory
from declarlm.core.errors import DivergedError, OutOfMemoryError
from declarlm.training.batches import Order
from declarlm.training.checkpoints import Checkpoints, identity
from declarlm.training.config import TrainerConfig, plan_steps
from declarlm.training.fire_drill import fire_drill
from declarlm.training.gradients import Gradients, build_optimizer
from declarlm.training.group import Alone
from declarlm.training.interrupts import Interrupts, StoppedError
from declarlm.training.precision import (
    default_budget,
    enable_gradient_checkpointing,
    resolve_precision,
)
from declarlm.training.progress import Progress, Quiet
from declarlm.training.reporting import Reporter
from declarlm.training.state import LOSS_SCALE, RandomState, TrainState
from declarlm.training.tracking import Track, Untracked
from declarlm.training.workload import Evaluation, Hook, Workload

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

T = TypeVar("T")
MAX_FAILURES = 5  # steps in a row whose loss or gradient is not finite
CHECKPOINT_SECONDS = 600.0  # the most training that a crash costs, however long an epoch is


class Trainer:
    """Trains a module on the rows of a workload.

    ``fit`` yields after every evaluation. Whoever calls it may stop there, do something else, and go on: training
    does not depend on what happens to the random generators in between.

    Attributes:
        steps: The optimizer steps that the config and the number of rows give.
        precision: Arithmetic of the forward pass.
        state: Where training stands.
        checkpoints: What was saved.
    """

    Config = TrainerConfig

    def __init__(
        self,
        config: TrainerConfig,
        module: nn.Module,
        workload: Workload,
        *,
        parameter_groups: Sequence[Mapping[str, Any]],
        evaluate: Callable[[], Mapping[str, float]] | None,
        goal: Literal["minimize", "maximize"],
        metric: str,
        directory: Path,
        seed: int,
        device: str | torch.device,
        hooks: Sequence[Hook] = (),
        progress: Progress | None = None,
        group: Alone | None = None,
    ) -> None:
        import torch

        self.group = group or Alone()
        self.config, self.module, self.workload, self.hooks = config, module, workload, hooks
        self.evaluate = None if config.skip_all_evaluation else evaluate
        self.goal, self.metric, self.directory, self.seed = goal, metric, directory, seed
        self.device = torch.device(device)
        self.steps = plan_steps(config, workload.num_rows)
        per_step, per_epoch = self.steps.rows_per_step, self.steps.per_epoch
        self.order = Order(workload.num_rows, per_step, per_epoch, seed=seed, shuffle=config.should_shuffle)
        self.schedule = config.learning_rate_scheduler.build(self.steps.total)
        self.parameter_groups = [dict(group) for group in parameter_groups]
        self.optimizer = self.make_optimizer()
        self.precision = resolve_precision(config.precision, self.device, module)
        if config.enable_gradient_checkpointing:
            enable_gradient_checkpointing(module)
        self.gradients = Gradients(
            *(module, workload, hooks),
            clipping=config.gradient_clipping,
            precision=self.precision,
            device=self.device,
            group=self.group,
        )
        budget = config.max_tokens_per_micro_batch
        self.state = TrainState(budget=default_budget(self.device) if budget == "auto" else budget)
        self.state.loss_scale = LOSS_SCALE if self.precision == "fp16" else 1.0
        self.random = RandomState.seeded(seed, self.device)
        track = Track(directory) if self.group.is_first else Untracked()
        self.reporter = Reporter(track, progress or Quiet(), steps=self.steps, device=self.device)
        self.checkpoints = Checkpoints(
            directory / "checkpoints",
            module=module,
            hooks=hooks,
            identity=identity(config.dump(), seed, self.steps.total, module, self.optimizer, workload.costs),
            warn=self.reporter.progress.note,
            group=self.group,
        )
        self._interrupts = Interrupts()
        self._counted_at = self._saved_at = time.monotonic()

    @property
    def total_steps(self) -> int:
        """Optimizer steps in all."""
        return self.steps.total

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return a fresh optimizer of all trainable weights."""
        return build_optimizer(self.config, self.module, self.parameter_groups)

    def fire_drill(self, rehearse: Callable[[], object] | None = None) -> None:
        """Do once, on the longest rows, what training will do for hours, and leave everything as it was.

        Args:
            rehearse: Evaluates one batch, if training is evaluated.

        Raises:
            RunError: If the loss is not finite, no weight moves, or a checkpoint does not come back as it was.
            OutOfMemoryError: If not even one row fits into memory.
        """
        fire_drill(self, rehearse)

    def fit(
        self, resume: bool = False, begun: Callable[[], object] | None = None, *, adopt: bool = False
    ) -> Iterator[Evaluation]:
        """Train to the end, or until early stopping, and leave the best weights on the module.

        Args:
            resume: Whether to go on from the newest checkpoint.
            begun: Called once there is a checkpoint, from which training can go on.
            adopt: Whether that checkpoint may be of a training that differs in this section's values.

        Raises:
            DivergedError: If the loss or its gradient stays non-finite.
            OutOfMemoryError: If not even one row fits into memory.
            StoppedError: On Ctrl-C or SIGTERM, with a checkpoint written.
            RunError: If ``resume`` finds no whole checkpoint of this config, or a fresh start finds one.
        """
        with self._running():  # One block with the first steps: no signal is to fall between two.
            self._begin(resume, begun, adopt)
            evaluation = self._advance()
        while evaluation is not None:
            yield evaluation
            with self._running():
                evaluation = self._advance()
        self.restore_best()

    def restore_best(self) -> None:
        """Set the module to the weights of the best evaluation so far, if there was one, ready to predict."""
        self.module.eval()
        best = self.state.best_step
        if best is not None and best != self.state.step:
            self.checkpoints.read_weights(self.checkpoints.path(best))

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Train in the block with the trainer's own random states; turn a signal into a checkpoint."""
        outer = RandomState.capture(self.device)
        self.random.restore(self.device)
        self._counted_at = time.monotonic()
        try:
            with self._interrupts.caught():
                try:
                    yield
                except KeyboardInterrupt:
                    with self._interrupts.ignored():
                        self.optimizer.zero_grad()
                        self._save()
                    raise StoppedError(
                        f"stopped after step {self.state.step} of {self.total_steps}, with a checkpoint written; "
                        f"go on with: declarlm resume {self.directory}"
                    ) from None
        finally:
            self._count_time()
            self.reporter.pause()
            outer.restore(self.device)

    def _begin(self, resume: bool, begun: Callable[[], object] | None, adopt: bool) -> None:
        with self._interrupts.held():
            if resume:
                self.state, self.random = self.checkpoints.load_newest(self.optimizer, adopt=adopt)
                self.random.restore(self.device)
                if adopt:
                    self._save()
            elif self.group.same(bool(self.checkpoints.steps())):
                raise RunError(f"{self.directory} holds checkpoints already; resume it, or train under a new name")
            else:
                self._save()
            self.reporter.track.open(self.state.step)
            if begun is not None:
                begun()

    def _advance(self) -> Evaluation | None:
        """Train up to the next evaluation and return it, or nothing at the end."""
        self.module.train()
        while True:
            state = self.state
            if self._is_evaluation_due() and state.evaluated < state.step:
                return self._evaluate()
            if state.step >= self.total_steps or 0 < self.config.early_stop <= state.rounds:
                return None
            self._train_step()
            if self._is_checkpoint_due() and not self._is_evaluation_due():
                self._save()

    def _train_step(self) -> None:
        state, started = self.state, time.monotonic()
        factor = self.schedule.factor(state.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        rows = self.order.rows(state.step)
        with self.group.own_random(self.device, self.seed, state.step):
            loss, norm = self.compute_gradients(rows)
        is_finite = math.isfinite(loss) and math.isfinite(norm)
        with self._interrupts.held():
            if is_finite:
                self.update(state.step + 1)
                state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
                state.count_steady()
            self.optimizer.zero_grad()
            state.step, state.failures = state.step + 1, 0 if is_finite else state.failures + 1
            self.random = RandomState.capture(self.device)
        if not is_finite:
            self._skipped(loss, norm)
            return
        self.reporter.step(
            state.step,
            loss,
            norm,
            learning_rate=max(group["lr"] for group in self.optimizer.param_groups),
            tokens=int(self.workload.costs[rows].sum()),
            seconds=time.monotonic() - started,
        )

    def compute_gradients(self, rows: np.ndarray[Any, Any]) -> tuple[float, float]:
        """Return loss and gradient length of a step, with ever smaller micro-batches while memory runs out.

        Raises:
            OutOfMemoryError: If not even one row fits.
        """
        while True:
            total = None
            try:
                total = self.gradients.compute(rows, self.state.budget, self.state.loss_scale)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.group.shards:
                    raise
            # Outside the handler, because the error's traceback holds the activations.
            if not self.group.agree(total is None) and total is not None:
                loss, norm = self.gradients.finish(total, self.state.loss_scale)
                if not self.state.overflows(loss, norm):
                    return loss, norm
                self.optimizer.zero_grad()
                self.random.restore(self.device)
                continue
            self.optimizer.zero_grad()
            release_memory(self.device)
            costs = self.workload.costs[rows]
            if self.state.budget < 2 * int(costs.min()) or len(rows) == 1:
                raise OutOfMemoryError(
                    f"a single row of {int(costs.max())} tokens does not fit into memory; set "
                    "trainer.enable_gradient_checkpointing, lower preprocessing.global_max_sequence_length, "
                    "or choose a smaller model"
                )
            self.state.budget = min(self.state.budget, int(costs.max()) * len(rows)) // 2
            self.reporter.progress.note(f"memory ran out; a micro-batch is now {self.state.budget} tokens")
            self.random.restore(self.device)

    def update(self, step: int) -> None:
        """Change the weights by the gradients that were computed, as step number ``step``.

        Raises:
            OutOfMemoryError: If the optimizer's own numbers do not fit.
        """
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"the state of optimizer {self.config.optimizer.type!r} does not fit into memory; write "
                "trainer.optimizer: {type: paged_adamw_8bit}, or train an adapter"
            ) from error
        for hook in self.hooks:
            hook.after_step(step)

    def _skipped(self, loss: float, norm: float) -> None:
        state = self.state
        what = f"the gradient was {norm}" if math.isfinite(loss) else f"the loss was {loss}"
        self.reporter.skipped(state.step, what)
        if state.failures >= MAX_FAILURES:
            self._save()
            raise DivergedError(
                f"training diverged at step {state.step}: {what}, as in the {MAX_FAILURES - 1} steps before; the "
                f"weights from before them are in {self.checkpoints.path(state.step)}; lower trainer.learning_rate"
            )

    def call(self, evaluate: Callable[[], T]) -> T:
        """Return what an evaluation of the module as it is now returns."""
        import torch

        self.module.eval()
        with self.group.evaluating(self.module), torch.no_grad():
            return evaluate()

    def _evaluate(self) -> Evaluation:
        state = self.state
        metrics: dict[str, float] = {}
        if self.evaluate is not None:
            metrics = self.group.same(dict(self.call(self.evaluate)))
            self.random.restore(self.device)  # so that training does not depend on how often it is evaluated
        with self._interrupts.held():
            self._count_time()
            evaluation = Evaluation(
                step=state.step,
                total=self.total_steps,
                epoch=state.step / self.steps.per_epoch,
                training_loss=state.loss_sum / state.loss_steps if state.loss_steps else math.nan,
                metrics=metrics,
                is_best=self._is_best(metrics),
                seconds=state.seconds,
            )
            state.history.append(asdict(evaluation))
            state.evaluated, state.loss_sum, state.loss_steps = state.step, 0.0, 0
            self._save()
            self.reporter.evaluation(evaluation)
        return evaluation

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        """Return whether this evaluation is the best so far, and remember it."""
        state = self.state
        if self.evaluate is None:
            state.best_step = state.step
            return True
        if self.metric not in metrics:
            raise RunError(f"no metric is named {self.metric!r}, choose from: {', '.join(sorted(metrics))}")
        if not all(hook.settled() for hook in self.hooks):
            return False
        value = metrics[self.metric]
        sign = 1 if self.goal == "maximize" else -1
        if math.isfinite(value) and (state.best_value is None or sign * value > sign * state.best_value):
            state.best_step, state.best_value, state.rounds = state.step, value, 0
            return True
        state.rounds += 1
        return False

    def _is_evaluation_due(self) -> bool:
        step = self.state.step
        return step > 0 and (step == self.total_steps or step % (self.config.eval_steps or self.steps.per_epoch) == 0)

    def _is_checkpoint_due(self) -> bool:
        step, interval = self.state.step, self.config.steps_per_checkpoint
        if self.config.checkpoints_per_epoch:
            step = step % self.steps.per_epoch
            interval = math.ceil(self.steps.per_epoch / self.config.checkpoints_per_epoch)
        is_late = self.group.same(time.monotonic() - self._saved_at > CHECKPOINT_SECONDS)
        return is_late or (interval > 0 and step % interval == 0)

    def _save(self) -> None:
        with self._interrupts.held():
            self._count_time()
            self.checkpoints.save(self.optimizer, self.state, self.random)
            self._saved_at = time.monotonic()

    def _count_time(self) -> None:
        now = time.monotonic()
        self.state.seconds += now - self._counted_at
        self._counted_at = now
