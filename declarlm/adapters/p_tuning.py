"""P-tuning: virtual tokens that a small network makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.base import adapters
from declarlm.adapters.virtual_tokens import VirtualTokens
from declarlm.core import param

if TYPE_CHECKING:
    from torch import nn


@adapters.register("p_tuning")
class PTuningAdapter(VirtualTokens):
    """Learn virtual tokens before each row together with a small network that makes their embeddings.

    The network ties the tokens to each other in training; what it makes is what is saved.
    Source: Liu et al., "GPT Understands, Too", 2021, https://arxiv.org/abs/2103.10385, section 3.
    """

    learning_rate = 3e-3
    peft_type = "P_TUNING"

    class Config(VirtualTokens.Config):
        encoder_reparameterization_type: Literal["MLP", "LSTM"] = param("Kind of the network.", default="MLP")
        encoder_hidden_size: int | None = param("Width of the network; null is that of the base.", default=None, min=1)
        encoder_num_layers: int = param("Layers of an LSTM; an MLP always has three.", default=2, min=1)
        encoder_dropout: float = param("Dropout between the layers of an LSTM.", default=0.0, min=0, below=1)

    config: Config

    def settings(self, module: nn.Module) -> Any:
        from peft import PromptEncoderConfig

        config = self.config
        return PromptEncoderConfig(
            **self.shared_settings(module),
            encoder_reparameterization_type=config.encoder_reparameterization_type,
            encoder_hidden_size=config.encoder_hidden_size,
            encoder_num_layers=config.encoder_num_layers,
            encoder_dropout=config.encoder_dropout,
        )
