"""BitFit: training the biases of a base, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from declarlm.adapters.base import adapters
from declarlm.adapters.in_place import InPlaceAdapter
from declarlm.core import ConfigError, Problem

if TYPE_CHECKING:
    from torch import nn


@adapters.register("bitfit")
class BitfitAdapter(InPlaceAdapter):
    """Train all biases, about a thousandth of the weights; bases without biases, such as Llama's, cannot have it.

    Source: Ben Zaken et al., "BitFit", 2021, https://arxiv.org/abs/2106.10199, section 3.
    """

    learning_rate = 3e-3
    peft_type = "BITFIT"

    def names(self, module: nn.Module) -> list[str]:
        found = [
            name for name, _ in module.named_parameters() if name.rpartition(".")[2] == "bias" and "pooler" not in name
        ]
        if not found:
            problem = "the base has no biases; write ln_tuning (its layer norms) or lora"
            raise ConfigError("config", [Problem("adapter.type", problem)])
        return found
