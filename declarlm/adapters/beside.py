"""Several adapters on the weights of one base, each in a module of its own."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.storage import base_names
from declarlm.core import ModelError

if TYPE_CHECKING:
    from torch import nn

    from declarlm.adapters.base import Adapter

# What bitsandbytes keeps beside a layer's weights, and moves there at its first call.
_OF_QUANTIZED_LAYERS = ("state", "quant_state")


def load_beside(base: nn.Module, adapter: Adapter, folder: Path) -> nn.Module:
    """Return a second module on the weights of ``base`` with a saved adapter in it; ``base`` stays as it is.

    Raises:
        ModelError: If the adapter does not fit, or changes weights that the two would share.
        RefusedError: If the folder is unsafe to open.
    """
    names = [name for name, _ in base.named_parameters()]
    changed = base_names(folder) & set(names)
    before = {name: (weight._version, weight.data_ptr()) for name, weight in base.named_parameters()}
    loaded = adapter.load(twin(base, own=changed), folder)
    after = {name: (weight._version, weight.data_ptr()) for name, weight in base.named_parameters()}
    if before != after:
        name = next(name for name in names if before[name] != after[name])
        raise ModelError(
            f"the adapter in {folder} changes {name} of its base, so no other adapter can stand on the same weights; "
            "load it alone"
        )
    return loaded


def twin(module: nn.Module, *, own: Collection[str] = ()) -> nn.Module:
    """Return a module of the same layers on the same weights, but for copies of those that are named in ``own``."""
    shared: list[Any] = [weight for name, weight in module.named_parameters() if name not in own]
    shared += module.buffers()
    for layer in module.modules():
        shared += [vars(layer)[key] for key in _OF_QUANTIZED_LAYERS if key in vars(layer)]
    return deepcopy(module, {id(part): part for part in shared})
