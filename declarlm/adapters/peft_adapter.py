"""What adapters have in common that PEFT puts into linear layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import Adapter
from declarlm.adapters.storage import task_type, wrap
from declarlm.adapters.targets import AUTOMATIC, Targets, find_targets
from declarlm.core import Problem, param

if TYPE_CHECKING:
    from torch import nn


class PeftAdapter(Adapter):
    """Change what frozen linear layers compute. A subclass gives PEFT's settings for it."""

    can_merge = True

    class Config(Adapter.Config):
        target_modules: str | list[str] | None = param(
            "Layers to adapt: names, a regular expression of full names, or auto (also all-linear or null) for "
            "every linear layer but the output head.",
            default="auto",
        )

        def check(self) -> Iterable[Problem]:
            if self.target_modules == []:
                yield Problem("target_modules", "must name at least one layer")
            if isinstance(self.target_modules, str) and self.target_modules not in AUTOMATIC:
                try:
                    re.compile(self.target_modules)
                except re.error as error:
                    yield Problem("target_modules", f"is not a regular expression: {error}; write a list of names")

    config: Config

    def add(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        return wrap(module, self.settings(module, self.targets(module), total_steps, seed), seed)

    def targets(self, module: nn.Module) -> Targets:
        """Return the layers of a base that the adapter goes into.

        Raises:
            ConfigError: If ``target_modules`` means none of them.
        """
        return find_targets(module, self.config.target_modules)

    def settings(self, module: nn.Module, targets: Targets, total_steps: int, seed: int) -> Any:
        """Return PEFT's own config of the adapter."""
        raise NotImplementedError

    def shared_settings(self, module: nn.Module, targets: Targets) -> dict[str, Any]:
        """Return the part of PEFT's config that does not depend on the kind of adapter."""
        return {
            "task_type": task_type(module),
            "target_modules": targets.target_modules,
            "exclude_modules": targets.exclude_modules or None,
            "fan_in_fan_out": targets.fan_in_fan_out,
        }
