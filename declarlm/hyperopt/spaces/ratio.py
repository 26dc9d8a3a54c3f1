"""A value that follows another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from declarlm.core import param
from declarlm.hyperopt.spaces.base import Space, spaces


@spaces.register("ratio")
class Ratio(Space):
    """Keep a number in step with another parameter: that parameter's value times ``value``.

    With ``adapter.alpha: {space: ratio, of: adapter.r, value: 2}``, a search over the rank does not also search the
    strength of the update, which is alpha / r.
    """

    follows = True

    class Config(Space.Config):
        of: str = param("Path of the parameter that is followed; it must be one of those searched.")
        value: float = param("What its value is multiplied by.")

    def derive(self, sample: Mapping[str, Any]) -> Any:
        found = sample[self.config.of] * self.config.value
        return int(found) if float(found).is_integer() and isinstance(sample[self.config.of], int) else found
