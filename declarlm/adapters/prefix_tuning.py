"""Prefix tuning: learned keys and values before each row, in every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import adapters
from declarlm.adapters.virtual_tokens import VirtualTokens, drawn_tokens
from declarlm.core import ConfigError, Problem

if TYPE_CHECKING:
    from torch import nn


@adapters.register("prefix_tuning")
class PrefixTuningAdapter(VirtualTokens):
    """Learn the keys and values of virtual tokens in every layer, which all tokens of a row attend to.

    They start as those of tokens drawn from the vocabulary, as the base computes them. For decoders.
    Source: Li & Liang, "Prefix-Tuning", 2021, https://arxiv.org/abs/2101.00190, section 4.
    """

    learning_rate = 1e-2
    peft_type = "PREFIX_TUNING"

    def check_base(self, module: nn.Module) -> None:
        if getattr(module.config, "is_encoder_decoder", False):
            problem = "'prefix_tuning' is for decoders, and this base has an encoder too; write prompt_tuning or lora"
            raise ConfigError("config", [Problem("adapter.type", problem)])
        if not getattr(module, "can_generate", lambda: False)():
            problem = "'prefix_tuning' needs a decoder, which keeps keys and values; write prompt_tuning or lora"
            raise ConfigError("config", [Problem("adapter.type", problem)])

    def settings(self, module: nn.Module) -> Any:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(**self.shared_settings(module))

    def start(self, wrapped: Any, seed: int) -> None:
        import torch
        from transformers.cache_utils import DynamicCache

        base, number = wrapped.get_base_model(), self.config.num_virtual_tokens
        weight = wrapped.prompt_encoder["default"].embedding.weight
        ids = torch.tensor([drawn_tokens(base, number, seed)], device=weight.device)
        cache = DynamicCache(config=base.config.get_text_config(decoder=True))
        with torch.no_grad():
            base(input_ids=ids, past_key_values=cache, use_cache=True)
            pairs = [part for layer in cache.layers for part in (layer.keys, layer.values)]
            # (1, heads, tokens, width) each, to (tokens, layers * 2 * heads * width), as PEFT cuts it up again.
            rows = torch.stack([part[0].transpose(0, 1) for part in pairs], dim=1).flatten(1)
            if rows.shape != weight.shape:
                problem = "the keys and values of this base have sizes that PEFT's prefix cannot have; write lora"
                raise ConfigError("config", [Problem("adapter.type", problem)])
            weight.copy_(rows.to(weight))
