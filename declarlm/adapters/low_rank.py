"""What adapters have in common that add a product of two thin matrices to linear layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.base import Adapter
from declarlm.adapters.named import find_adapter
from declarlm.adapters.storage import task_type, wrap
from declarlm.adapters.targets import AUTOMATIC, Targets, find_targets
from declarlm.core import Problem, param

if TYPE_CHECKING:
    from torch import nn


class LowRankAdapter(Adapter):
    """Add a low-rank update to frozen linear layers. A subclass gives PEFT's settings for it."""

    can_merge = True

    class Config(Adapter.Config):
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
        target_modules: str | list[str] | None = param(
            "Layers to adapt: names, a regular expression of full names, or auto (also all-linear or null) for "
            "every linear layer but the output head.",
            default="auto",
        )

        @property
        def scale(self) -> float:
            """What alpha means: the update of a layer of rank r is multiplied by this / r."""
            return 2 * self.r if self.alpha is None else self.alpha

        def check(self) -> Iterable[Problem]:
            if self.target_modules == []:
                yield Problem("target_modules", "must name at least one layer")
            if isinstance(self.target_modules, str) and self.target_modules not in AUTOMATIC:
                try:
                    re.compile(self.target_modules)
                except re.error as error:
                    yield Problem("target_modules", f"is not a regular expression: {error}; write a list of names")

    config: Config

    @property
    def trains_base(self) -> bool:
        return self.config.bias_type != "none"

    def attach(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        if self.config.pretrained_adapter_weights is not None:
            folder = find_adapter(self.config.pretrained_adapter_weights)
            return self.load(module, folder, trainable=True)
        targets = find_targets(module, self.config.target_modules)
        return wrap(module, self.settings(module, targets, total_steps), seed)

    def settings(self, module: nn.Module, targets: Targets, total_steps: int) -> Any:
        """Return PEFT's own config of the adapter."""
        raise NotImplementedError

    def shared_settings(self, module: nn.Module, targets: Targets) -> dict[str, Any]:
        """Return the part of PEFT's config that does not depend on the kind of adapter."""
        return {
            "task_type": task_type(module),
            "lora_dropout": self.config.dropout,
            "bias": self.config.bias_type,
            "target_modules": targets.target_modules,
            "exclude_modules": targets.exclude_modules or None,
            "fan_in_fan_out": targets.fan_in_fan_out,
        }
