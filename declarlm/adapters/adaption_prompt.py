"""LLaMA-Adapter: learned vectors that the top attention layers also look at, through a gate that starts shut."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import Adapter, adapters
from declarlm.adapters.checks import total_length
from declarlm.adapters.last_layers import layers_of
from declarlm.adapters.storage import wrap
from declarlm.core import ConfigError, Problem, param

if TYPE_CHECKING:
    from torch import nn


@adapters.register("adaption_prompt")
class AdaptionPromptAdapter(Adapter):
    """Let the top attention layers also attend to learned vectors, scaled by a learned gate.

    The gate of each layer starts at zero, so that training starts from the base. For the bases whose attention PEFT
    knows how to extend: Llama, Mistral and GPT-2.
    Source: Zhang et al., "LLaMA-Adapter", 2023, https://arxiv.org/abs/2303.16199, section 3.
    """

    learning_rate = 1e-2
    peft_type = "ADAPTION_PROMPT"
    takes_bits = False
    can_shard = False

    class Config(Adapter.Config):
        adapter_len: int = param("Learned vectors of each layer.", default=10, min=1)
        adapter_layers: int | None = param(
            "Layers, counted from the top, that have them; null is all but the lowest fifteenth.", default=None, min=1
        )

    config: Config

    def add(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        from peft import AdaptionPromptConfig
        from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG

        kind = str(getattr(module.config, "model_type", None))
        if kind not in TRANSFORMERS_MODEL_CONFIG or not getattr(module, "can_generate", lambda: False)():
            known = ", ".join(sorted(TRANSFORMERS_MODEL_CONFIG))
            problem = f"'adaption_prompt' is for bases of type {known}, and this one is {kind}; write lora"
            raise ConfigError("config", [Problem("adapter.type", problem)])
        _, layers = layers_of(module)
        number = self.config.adapter_layers or max(1, math.floor(len(layers) * 14 / 15))
        if number > len(layers):
            problem = f"must be at most {len(layers)}, the layers of this base, got {number}"
            raise ConfigError("config", [Problem("adapter.adapter_layers", problem)])
        settings: Any = AdaptionPromptConfig(
            task_type="CAUSAL_LM", adapter_len=self.config.adapter_len, adapter_layers=number
        )
        return wrap(module, settings, seed)

    def load(self, module: nn.Module, folder: Path, *, trainable: bool = False) -> nn.Module:
        loaded = super().load(module, folder, trainable=trainable)
        return loaded if trainable else loaded.requires_grad_(False)  # which PEFT forgets here

    def effect(self, module: nn.Module) -> float:
        """Return the length of all gates, which is zero where nothing is added."""
        gates = [weight for name, weight in module.named_parameters() if name.endswith("adaption_gate")]
        return total_length(gates)
