"""The rehearsal before the first epoch, so that nothing crashes in its fifth hour."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from declarlm.core import RunError
from declarlm.training.checkpoints import trained_tensors
from declarlm.training.sharding import local, whole
from declarlm.training.state import RandomState

if TYPE_CHECKING:
    import torch

    from declarlm.training.trainer import Trainer


def fire_drill(trainer: Trainer, rehearse: Callable[[], object] | None) -> None:
    """Make one step, one evaluation, one save and one reload on the longest rows; then undo all of it.

    Only the micro-batch budget stays as it was found to fit.
    """
    with _undone(trainer):
        before = {name: local(tensor).clone() for name, tensor in trained_tensors(trainer.module).items()}
        _step(trainer)
        if not _has_changed(trainer, before):
            raise RunError("a training step left every weight as it was; raise trainer.learning_rate")
        _check_finite(trainer)
        del before
        if rehearse is not None:
            trainer.call(rehearse)
        with _scratch(trainer) as folder:
            _save_and_reload(trainer, folder / "checkpoint")


def _step(trainer: Trainer) -> None:
    """Train on the longest rows that make one micro-batch in each process, with the learning rate at its highest."""
    import numpy as np

    costs = trainer.workload.costs
    fitting = max(1, trainer.state.budget // max(1, int(costs.max())))
    size = min(trainer.steps.rows_per_step, fitting * trainer.group.size)
    rows = np.argsort(-costs, kind="stable")[:size]
    trainer.module.train()
    loss, norm = trainer.compute_gradients(rows)
    for name, number in (("loss", loss), ("gradient", norm)):
        if not math.isfinite(number):
            raise RunError(f"before any training, the {name} on the longest rows is {number}; check these rows' values")
    if norm == 0:
        raise RunError("the loss on the longest rows gives no gradient to any trainable weight")
    trainer.update(1)
    trainer.optimizer.zero_grad()


def _has_changed(trainer: Trainer, before: dict[str, torch.Tensor]) -> bool:
    import torch

    now = trained_tensors(trainer.module).items()
    return trainer.group.agree(any(not torch.equal(local(tensor), before[name]) for name, tensor in now))


def _check_finite(trainer: Trainer) -> None:
    """Refuse a learning rate at which one step leaves no numbers."""
    for name, tensor in trained_tensors(trainer.module).items():
        if not local(tensor).isfinite().all():
            rate = max(group["lr"] for group in trainer.optimizer.param_groups)
            remedy = f"lower trainer.learning_rate ({rate:g})"
            raise RunError(f"one training step makes weight {name} infinite or not a number; {remedy}")


def _save_and_reload(trainer: Trainer, path: Path) -> None:
    """Write a checkpoint and read it back, so that a full disk or a state that cannot be saved shows now."""
    import torch
    from safetensors.torch import load_file

    trainer.checkpoints.write(path, trainer.optimizer, trainer.state, trainer.random)
    saved = load_file(path / "weights.safetensors")
    for name, tensor in trained_tensors(trainer.module).items():
        if not torch.equal(saved[name], whole(tensor).cpu()):
            raise RunError(f"weight {name} does not come back from a checkpoint as it was saved")
    trainer.checkpoints.read(path, trainer.optimizer)


@contextmanager
def _scratch(trainer: Trainer) -> Iterator[Path]:
    """Have a folder for the length of the block, the same one in all processes."""
    trainer.directory.mkdir(parents=True, exist_ok=True)
    first, parent = trainer.group.is_first, trainer.directory
    made = tempfile.mkdtemp(prefix=".fire-drill-", suffix=".tmp", dir=parent) if first else None
    folder = Path(trainer.group.same(made))
    try:
        yield folder
        trainer.group.wait()
    finally:
        if first:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _undone(trainer: Trainer) -> Iterator[None]:
    """Put weights, optimizer, hooks and random states back at the end of the block."""
    import torch

    outer = RandomState.capture(trainer.device)
    mode = trainer.module.training
    # On the host, so that the copies do not count against the device's memory.
    weights = {name: local(tensor).cpu().clone() for name, tensor in trained_tensors(trainer.module).items()}
    hooks = [{key: value.clone() for key, value in hook.state().items()} for hook in trainer.hooks]
    trainer.random.restore(trainer.device)
    trainer.workload.rehearses = True
    try:
        yield
    finally:
        trainer.workload.rehearses = False
        with torch.no_grad():
            for name, tensor in trained_tensors(trainer.module).items():
                local(tensor).copy_(weights[name])
        for hook, state in zip(trainer.hooks, hooks, strict=True):
            hook.restore(state)
        trainer.optimizer.zero_grad()
        trainer.optimizer = trainer.make_optimizer()
        trainer.module.train(mode)
        outer.restore(trainer.device)
