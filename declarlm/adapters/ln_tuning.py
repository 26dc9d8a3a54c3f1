"""Training the layer norms of a base, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.adapters.base import adapters
from declarlm.adapters.in_place import InPlaceAdapter
from declarlm.core import ConfigError, Problem

if TYPE_CHECKING:
    from torch import nn


@adapters.register("ln_tuning")
class LnTuningAdapter(InPlaceAdapter):
    """Train the scales and shifts of all layer norms, a few thousandths of the weights.

    Source: Zhao et al., "Tuning LayerNorm in Attention", 2023, https://arxiv.org/abs/2312.11420.
    """

    learning_rate = 3e-3
    peft_type = "LN_TUNING"

    def names(self, module: nn.Module) -> list[str]:
        found = [
            f"{name}.{part}"
            for name, layer in module.named_modules()
            if is_norm(layer)
            for part, _ in layer.named_parameters(recurse=False)
        ]
        if not found:
            problem = "the base has no layer norm with weights; write lora"
            raise ConfigError("config", [Problem("adapter.type", problem)])
        return found


def is_norm(layer: nn.Module) -> bool:
    """Return whether a layer scales its inputs to one size, as LayerNorm and RMSNorm of any family do."""
    return type(layer).__name__.lower().endswith("norm")
