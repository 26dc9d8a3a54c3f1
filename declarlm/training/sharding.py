"""Weights that are split over the processes that train them: torch's FSDP2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from declarlm.training.group import Replicated, deal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


@runtime_checkable
class Aligned(Protocol):
    """A module that may go through its layers in several ways."""

    def run_alike(self) -> None:
        """Go through them in the same way from now on, whatever the rows are."""
        ...


class Sharded(Replicated):
    """Processes that hold a part of each weight, and put the weights of one layer together while they need it.

    As all go through each layer at the same moment, they need the same number of micro-batches, and evaluate the same
    rows.
    """

    shards = True

    def prepare(self, module: nn.Module) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        for part in module.modules():
            if isinstance(part, Aligned):
                part.run_alike()
        mesh = init_device_mesh(self.device.partition(":")[0], (self.size,))
        # The innermost first: each is moved to the device, cut, and only then the next one.
        for part in (*_layers(module), module):
            fully_shard(part, mesh=mesh)
        for part in module.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)  # The loss is divided by what all processes have.
                part.set_force_sum_reduction_for_comms(True)

    def part(self, num_rows: int) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.arange(num_rows)

    def gather(self, value: Any) -> list[Any]:
        return [value]  # They evaluate the same rows.

    def micro_batches(
        self, costs: np.ndarray[Any, Any], cut: Callable[[np.ndarray[Any, Any]], Iterator[np.ndarray[Any, Any]]]
    ) -> Iterator[tuple[np.ndarray[Any, Any], float]]:
        import numpy as np

        shares = deal(costs, self.size)
        batches = [list(cut(costs[share])) for share in shares]
        mine = batches[self.rank]
        for batch in mine:
            yield shares[self.rank][batch], 1.0
        for _ in range(max(map(len, batches)) - len(mine)):
            yield np.array([costs.argmin()]), 0.0

    def add_up(self, total: Tensor, weights: Sequence[nn.Parameter]) -> None:
        from torch import distributed

        distributed.all_reduce(total)  # The gradients were summed during the backward passes.

    def collect(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        found = {}
        for name, tensor in tensors.items():
            complete = whole(tensor)
            if self.is_first:
                found[name] = complete.cpu()
        return found

    @contextmanager
    def evaluating(self, module: nn.Module) -> Iterator[None]:
        import torch
        from torch.distributed.fsdp import FSDPModule

        from declarlm.training.state import RandomState

        device = torch.device(self.device)
        RandomState.load(self.same(RandomState.capture(device).dump())).restore(device)
        root = cast(FSDPModule, module)
        root.reshard()  # After a pass it may or may not be together, and all processes must do the same.
        root.unshard()
        try:
            yield
        finally:
            root.reshard()

    @contextmanager
    def gathered(self, module: nn.Module) -> Iterator[None]:
        from torch import nn
        from torch.distributed.fsdp import FSDPModule

        cast(FSDPModule, module).reshard()
        trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        found = self.collect({name: weight.data for name, weight in trained.items()})
        complete = {id(trained[name]): nn.Parameter(tensor) for name, tensor in found.items()}
        places = [
            (part, name, weight)
            for part in module.modules()
            for name, weight in part._parameters.items()
            if weight is not None and id(weight) in complete
        ]
        for part, name, weight in places:
            part._parameters[name] = complete[id(weight)]
        try:
            yield
        finally:
            for part, name, weight in places:
                part._parameters[name] = weight
        self.wait()


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor, which may be split over processes; then all of them must ask for it."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds, which is all of it if it is not split."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """Return a whole tensor on the device of ``model``, and split as that is."""
    if not hasattr(model, "full_tensor"):
        return tensor.to(model.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    split = cast(DTensor, model)
    return distribute_tensor(tensor.to(split.device), split.device_mesh, split.placements, src_data_rank=None)


def _layers(module: nn.Module) -> list[nn.Module]:
    """Return the repeated layers of a model, which are used one after the other."""
    from torch import nn

    named = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    layers = [part for part in module.modules() if type(part).__name__ in named]
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    return layers or [layer for part in lists for layer in part if not any(inner in lists for inner in layer.modules())]
