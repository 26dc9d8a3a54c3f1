"""Checkpoints: what is trained and nothing else, in safetensors and JSON, each folder whole or absent.

A checkpoint is a folder ``step-00000040`` with ``weights.safetensors`` (weights with a gradient, and the buffers
that change with them), ``optimizer.safetensors``, ``hooks.safetensors``, ``state.json`` and a manifest. The
newest two stay, and the best one.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.core import RunError
from declarlm.core.document import differences
from declarlm.core.errors import DiskError
from declarlm.core.files import atomic_folder, read_json, remove_leftovers, verify_folder, write_json
from declarlm.training.group import Alone
from declarlm.training.sharding import like
from declarlm.training.state import RandomState, TrainState
from declarlm.training.workload import Hook

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

FORMAT = 1
ADOPTED = ("trainer", "learning_rates")  # what may differ in a training that goes on from another one


def trained_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return, by name, the weights with a gradient and the buffers that change with them.

    A buffer changes with training if it is saved with its module and the module holds no frozen weight, such as
    the running mean of a normalization; the buffers of a frozen backbone stay out.
    """
    tensors = {name: weight.data for name, weight in module.named_parameters() if weight.requires_grad}
    for prefix, part in module.named_modules():
        if any(not weight.requires_grad for weight in part.parameters(recurse=False)):
            continue
        for name, buffer in part.named_buffers(recurse=False):
            if name not in part._non_persistent_buffers_set:
                tensors[f"{prefix}.{name}" if prefix else name] = buffer
    return tensors


def identity(
    config: Mapping[str, Any],
    seed: int,
    total_steps: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    costs: np.ndarray[Any, Any],
) -> dict[str, Any]:
    """Return what tells a training from every other one, as JSON; ``costs`` are those of its rows."""
    shapes = {name: list(tensor.shape) for name, tensor in trained_tensors(module).items()}
    return {
        "trainer": config,
        "seed": seed,
        "total_steps": total_steps,
        "rows": len(costs),
        "tokens": int(costs.sum()),
        "order": zlib.crc32(costs.tobytes()),
        "learning_rates": [group["initial_lr"] for group in optimizer.param_groups],
        "weights": zlib.crc32(repr(sorted(shapes.items())).encode()),
    }


class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: Where they lie.
        identity: What a run must have in common with a checkpoint to go on from it, as JSON.
    """

    def __init__(
        self,
        folder: Path,
        *,
        module: nn.Module,
        hooks: Sequence[Hook],
        identity: Mapping[str, Any],
        warn: Callable[[str], None],
        group: Alone,
    ) -> None:
        self.folder, self.module, self.hooks, self.warn, self.group = folder, module, hooks, warn, group
        self.identity = dict(identity)

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint after ``step`` optimizer steps."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, whole or not, newest first."""
        names = [path.name.removeprefix("step-") for path in self.folder.glob("step-*")]
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def save(self, optimizer: torch.optim.Optimizer, state: TrainState, random: RandomState) -> None:
        """Write a checkpoint, then delete those no longer needed.

        Raises:
            DiskError: If it cannot be written; those that were there stay.
        """
        self.write(self.path(state.step), optimizer, state, random)
        if not self.group.is_first:
            return
        keep = {*self.steps()[:2], state.best_step}
        for step in self.steps():
            if step not in keep:
                shutil.rmtree(self.path(step), ignore_errors=True)

    def write(self, path: Path, optimizer: torch.optim.Optimizer, state: TrainState, random: RandomState) -> None:
        """Write one checkpoint folder; of several processes the first one does, and the others wait for it."""
        tensors, plain = _optimizer_state(optimizer, self.module)
        hooks = {f"{i}/{key}": value for i, hook in enumerate(self.hooks) for key, value in hook.state().items()}
        weights, moments = self.group.collect(trained_tensors(self.module)), self.group.collect(tensors)
        if self.group.is_first:
            self._write(path, {"weights": weights, "optimizer": moments, "hooks": hooks}, state, random, plain)
        self.group.wait()

    def _write(
        self,
        path: Path,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: TrainState,
        random: RandomState,
        plain: Mapping[str, Any],
    ) -> None:
        with atomic_folder(path) as folder:
            for name, some in tensors.items():
                _write_tensors(folder / f"{name}.safetensors", some)
            contents = {"format": FORMAT, "identity": self.identity, "state": asdict(state)}
            write_json(folder / "state.json", {**contents, "optimizer": plain, "random": random.dump()})

    def load_newest(self, optimizer: torch.optim.Optimizer, *, adopt: bool = False) -> tuple[TrainState, RandomState]:
        """Set module, optimizer and hooks to the newest checkpoint that is whole.

        Args:
            optimizer: The optimizer.
            adopt: Whether it may be of a training that differs in the values of the trainer's section.

        Raises:
            RunError: If there is none, or if it belongs to another config or other rows.
        """
        step, problem = self.group.same(self._newest() if self.group.is_first else None)
        if problem:
            raise RunError(problem)
        return self.read(self.path(step), optimizer, adopt=adopt)

    def _newest(self) -> tuple[int, str]:
        """Return the newest step that has a whole checkpoint, or why there is none; what is damaged is removed."""
        remove_leftovers(self.folder)
        steps = self.steps()
        for place, step in enumerate(steps):
            if verify_folder(self.path(step)):
                for damaged in steps[:place]:
                    shutil.rmtree(self.path(damaged))  # Training writes it again, and two whole ones are to be kept.
                return step, ""
            self.warn(f"checkpoint {self.path(step)} is damaged and was passed over; an older one is tried")
        found = f"none of its {len(steps)} checkpoints is whole" if steps else "it has no checkpoint"
        return 0, f"{self.folder} cannot be resumed: {found}; train again under a new name"

    def read(
        self, path: Path, optimizer: torch.optim.Optimizer, *, adopt: bool = False
    ) -> tuple[TrainState, RandomState]:
        """Set module, optimizer and hooks to one checkpoint.

        Raises:
            RunError: If it belongs to another config or other rows.
        """
        from safetensors.torch import load_file

        contents = read_json(path / "state.json")
        self._compare(path, contents["identity"], apart_from=ADOPTED if adopt else ())
        self.read_weights(path)
        _restore_optimizer(optimizer, self.module, load_file(path / "optimizer.safetensors"), contents["optimizer"])
        return TrainState(**contents["state"]), RandomState.load(contents["random"])

    def read_weights(self, path: Path) -> None:
        """Set the module's trained tensors and the hooks to those of a checkpoint, nothing else."""
        import torch
        from safetensors.torch import load_file

        saved = load_file(path / "weights.safetensors")
        with torch.no_grad():
            for name, tensor in trained_tensors(self.module).items():
                tensor.copy_(like(saved[name], tensor))
        hooks = load_file(path / "hooks.safetensors")
        for index, hook in enumerate(self.hooks):
            mark = f"{index}/"
            hook.restore({key.removeprefix(mark): value for key, value in hooks.items() if key.startswith(mark)})

    def _compare(self, path: Path, identity: Mapping[str, Any], apart_from: Sequence[str]) -> None:
        before, now = (
            {key: value for key, value in found.items() if key not in apart_from} for found in (identity, self.identity)
        )
        changes = list(differences(before, now))
        if changes:
            raise RunError(f"{path} cannot be resumed by another run: " + "; ".join(changes))


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        # Two names of one memory are refused by safetensors, and bitsandbytes shares its tables.
        storage = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.detach().clone() if storage in seen else tensor.detach().contiguous()
        seen.add(storage)
    try:
        save_file(separate, path)
    except SafetensorError as error:
        raise DiskError(f"{path} cannot be written: {error}") from None


def _optimizer_state(optimizer: torch.optim.Optimizer, module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of an optimizer, named ``weight/key``, and the rest of its state as JSON."""
    import torch

    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, weight in module.named_parameters():
        for key, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{name}/{key}"] = value
            else:
                plain[f"{name}/{key}"] = value
    return tensors, plain


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Give an optimizer the state that ``_optimizer_state`` returned.

    Not by ``load_state_dict``, which casts moments to the type of their weight.
    """
    import torch

    optimizer.state.clear()
    weights = dict(module.named_parameters())
    fused = {weight for group in optimizer.param_groups if group.get("fused") for weight in group["params"]}
    for path, value in {**tensors, **plain}.items():
        name, _, key = path.rpartition("/")
        weight = weights[name]
        # A step count of torch's optimizers stays on the host unless their kernel is fused.
        if isinstance(value, torch.Tensor) and (key != "step" or weight in fused):
            value = like(value, weight) if value.shape == weight.shape else value.to(weight.device)
        optimizer.state[weight][key] = value
