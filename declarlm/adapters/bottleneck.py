"""Bottleneck adapters: small networks behind attention and feed-forward layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.base import Adapter, adapters
from declarlm.adapters.checks import total_length
from declarlm.adapters.own_format import read_own, write_own
from declarlm.adapters.storage import seeded
from declarlm.adapters.targets import ATTENTION_END, FEEDFORWARD_END, linear_layers
from declarlm.core import ConfigError, ModelError, Problem, param

if TYPE_CHECKING:
    from torch import nn


@adapters.register("bottleneck")
class BottleneckAdapter(Adapter):
    """Put a small network with a narrow middle behind layers of a frozen base, before what they give is added.

    ``houlsby`` has one after each attention and one after each feed-forward, ``pfeiffer`` only the latter, which is
    half the weights. Each adds ``up(f(down(y)))`` to a layer's output ``y``; ``up`` starts at zero, so that training
    starts from the base.
    Sources: Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", 2019, https://arxiv.org/abs/1902.00751,
    section 2; Pfeiffer et al., "AdapterFusion", 2020, https://arxiv.org/abs/2005.00247, section 3.
    """

    learning_rate = 1e-3
    peft_type = "BOTTLENECK"

    class Config(Adapter.Config):
        placement: Literal["houlsby", "pfeiffer"] = param(
            "Where networks stand: after attention and feed-forward (houlsby), or after feed-forward alone (pfeiffer).",
            default="houlsby",
        )
        bottleneck_size: int = param("Numbers in the middle of each network.", default=64, min=1)
        non_linearity: Literal["relu", "gelu", "silu", "tanh"] = param(
            "What the middle passes through.", default="gelu"
        )
        dropout: float = param("Probability of zeroing an input of a network in training.", default=0.0, min=0, below=1)

    config: Config

    def add(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        with seeded(seed):
            return self._inserted(module, _places(module, self.config.placement), trainable=True)

    def _inserted(self, module: nn.Module, places: dict[str, int], *, trainable: bool) -> nn.Module:
        from declarlm.layers.bottleneck import Bottleneck, put_behind

        for name, width in places.items():
            layer, config = module.get_submodule(name), self.config
            made = Bottleneck(width, config.bottleneck_size, config.non_linearity, config.dropout)
            made.to(next(layer.parameters()).device).train(module.training).requires_grad_(trainable)
            put_behind(layer, made)
        return module

    def effect(self, module: nn.Module) -> float:
        """Return the length of all weights that lead out of the networks, which is zero where nothing is added."""
        ends = [weight for name, weight in module.named_parameters() if f".{NAME}.up." in name]
        return total_length(ends)

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the networks into ``folder``, by the names of the layers that they stand behind."""
        write_own(self, {name: one for name, one in module.named_parameters() if f".{NAME}." in name}, folder)

    def load(self, module: nn.Module, folder: Path, *, trainable: bool = False) -> nn.Module:
        import torch

        settings, found = read_own(folder, self.peft_type)
        self.config = self.config.replace(**{key: settings[key] for key in settings if key in _SHAPE})
        places = _places(module, self.config.placement)
        if set(found) != {f"{name}.{NAME}.{part}" for name in places for part in _PARTS}:
            raise ModelError(f"the adapter in {folder} does not fit this base: it stands behind other layers")
        with seeded(0):
            self._inserted(module, places, trainable=trainable)
        with torch.no_grad():
            for name, weight in found.items():
                own = module.get_parameter(name)
                if own.shape != weight.shape:
                    raise ModelError(f"the adapter in {folder} does not fit this base: {name} has another size")
                own.copy_(weight)
        return module

    @contextmanager
    def off(self, module: nn.Module) -> Iterator[None]:
        from declarlm.layers.bottleneck import Bottleneck

        networks = [part for part in module.modules() if isinstance(part, Bottleneck)]
        for network in networks:
            network.is_on = False
        try:
            yield
        finally:
            for network in networks:
                network.is_on = True


NAME = "bottleneck"  # of a network in its layer, as in ``layers.bottleneck``, which loads torch
_SHAPE = ("placement", "bottleneck_size", "non_linearity", "dropout")
_PARTS = ("down.weight", "down.bias", "up.weight", "up.bias")


def _places(module: nn.Module, placement: str) -> dict[str, int]:
    """Return the layers that networks stand behind, with how many numbers each gives.

    Raises:
        ConfigError: If the base has no such layers by any known name.
    """
    layers: dict[str, Any] = linear_layers(module)
    ends = [FEEDFORWARD_END, *([ATTENTION_END] if placement == "houlsby" else [])]
    found = [name for name in layers if any(end.fullmatch(name) for end in ends)]
    if not found:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
        problem = f"which layers of this base end an attention or a feed-forward is not known ({known}); write lora"
        raise ConfigError("config", [Problem("adapter.type", problem)])
    return {name: int(getattr(layers[name], "out_features", 0) or layers[name].nf) for name in found}
