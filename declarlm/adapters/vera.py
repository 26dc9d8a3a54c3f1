"""VeRA: low-rank updates that share their random matrices, of which only scales are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import adapters
from declarlm.adapters.checks import total_length
from declarlm.adapters.peft_adapter import PeftAdapter
from declarlm.adapters.targets import Targets
from declarlm.core import param

if TYPE_CHECKING:
    from torch import nn


@adapters.register("vera")
class VeraAdapter(PeftAdapter):
    """Learn two vectors for each layer, beside random matrices that all layers share and that never change.

    Replaces ``y = Wx`` by ``y = Wx + b * B(d * Ax)``; only ``d (r,)``, which starts at ``d_initial``, and ``b (out,)``,
    which starts at zero, train. The matrices are saved with the adapter.
    Source: Kopiczko et al., "VeRA", 2023, https://arxiv.org/abs/2310.11454, section 3.
    """

    learning_rate = 1e-2
    peft_type = "VERA"

    class Config(PeftAdapter.Config):
        r: int = param("Rank of the shared matrices.", default=256, min=1)
        dropout: float = param(
            "Probability of zeroing an input of the update in training.", default=0.0, min=0, below=1
        )
        d_initial: float = param("First value of the scales between the matrices.", default=0.1, above=0)

    config: Config

    def settings(self, module: nn.Module, targets: Targets, total_steps: int, seed: int) -> Any:
        from peft import VeraConfig

        shared = self.shared_settings(module, targets)
        del shared["exclude_modules"]  # which PEFT does not know here, so the layers have their full names
        shared["target_modules"] = targets.names
        return VeraConfig(
            r=self.config.r,
            vera_dropout=self.config.dropout,
            d_initial=self.config.d_initial,
            projection_prng_key=seed % 2**32,
            save_projection=True,
            **shared,
        )

    def effect(self, module: nn.Module) -> float:
        """Return the length of all outer scales, which is zero where nothing is added."""
        outer = [weight for name, weight in module.named_parameters() if ".vera_lambda_b." in name]
        return total_length(outer)
