"""What adapters have in common that add a product of two thin matrices to linear layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.peft_adapter import PeftAdapter
from declarlm.adapters.targets import Targets
from declarlm.core import param

if TYPE_CHECKING:
    from torch import nn


class LowRankAdapter(PeftAdapter):
    """Add a low-rank update to frozen linear layers. A subclass gives PEFT's settings for it."""

    class Config(PeftAdapter.Config):
        r: int = param("Rank of the update of one layer.", default=16, min=1)
        alpha: float | None = param(
            "Scale: the update is multiplied by alpha / r; null is 2r, a scale of 2.", default=None, above=0
        )
        dropout: float = param(
            "Probability of zeroing an input of the update in training.", default=0.05, min=0, below=1
        )
        bias_type: Literal["none", "all", "lora_only"] = param(
            "Which biases of the base train too: none, all, or those of the adapted layers.", default="none"
        )

        @property
        def scale(self) -> float:
            """What alpha means: the update of a layer of rank r is multiplied by this / r."""
            return 2 * self.r if self.alpha is None else self.alpha

    config: Config

    @property
    def trains_base(self) -> bool:
        return self.config.bias_type != "none"

    def shared_settings(self, module: nn.Module, targets: Targets) -> dict[str, Any]:
        """Return the part of PEFT's config that does not depend on the kind of adapter."""
        own = {"lora_dropout": self.config.dropout, "bias": self.config.bias_type}
        return {**own, **super().shared_settings(module, targets)}
