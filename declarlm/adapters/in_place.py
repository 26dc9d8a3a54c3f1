"""What adapters have in common that train some of the base's own weights, and keep only those."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from declarlm.adapters.base import Adapter
from declarlm.adapters.checks import total_length
from declarlm.adapters.own_format import read_own, write_own
from declarlm.adapters.switching import kept, original_weights, remember
from declarlm.core import ModelError

if TYPE_CHECKING:
    from torch import nn


class InPlaceAdapter(Adapter):
    """Train some weights of the base where they are. A subclass says which.

    The values that they had are kept beside them, so that the base can be asked as it was.
    """

    can_merge = True
    takes_bits = False
    can_shard = False

    @property
    def trains_base(self) -> bool:
        return True

    def names(self, module: nn.Module) -> list[str]:
        """Return the names of the weights that train.

        Raises:
            ConfigError: If the base has none.
        """
        raise NotImplementedError

    def add(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        return self._opened(module, self.names(module))

    def _opened(self, module: nn.Module, names: list[str]) -> nn.Module:
        weights = dict(module.named_parameters())
        chosen = [weights[name] for name in names]
        remember(module, chosen)
        for weight in chosen:
            weight.requires_grad_(True)
        return module

    def effect(self, module: nn.Module) -> float:
        """Return the distance of the trained weights from the base's."""
        return total_length(weight.double() - before.double() for weight, before in kept(module))

    def merged(self, module: nn.Module, *, progressbar: bool = False) -> nn.Module:
        return module

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the changed weights into ``folder``, by their names in the base."""
        changed = {id(weight) for weight, _ in kept(module)}
        write_own(self, {name: one for name, one in module.named_parameters() if id(one) in changed}, folder)

    def load(self, module: nn.Module, folder: Path, *, trainable: bool = False) -> nn.Module:
        _, found = read_own(folder, self.peft_type)
        weights = dict(module.named_parameters())
        for name, weight in found.items():
            if name not in weights or weights[name].shape != weight.shape:
                lacks = f"it has no {name} of shape {tuple(weight.shape)}"
                raise ModelError(f"the adapter in {folder} does not fit this base: {lacks}")
        remember(module, [weights[name] for name in found])
        for name, weight in found.items():
            weights[name].data = weight.to(weights[name].device, weights[name].dtype)
            weights[name].requires_grad_(trainable)
        return module

    def off(self, module: nn.Module) -> AbstractContextManager[None]:
        return original_weights(module)
