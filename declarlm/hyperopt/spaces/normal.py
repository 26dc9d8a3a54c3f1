"""Spaces of normally distributed numbers, which have no ends: only random search draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core import param
from declarlm.hyperopt.spaces.base import Space, spaces

if TYPE_CHECKING:
    import numpy as np


@spaces.register("randn")
class RandN(Space):
    """Draw a normally distributed number."""

    class Config(Space.Config):
        mean: float = param("Mean of the numbers.", default=0.0)
        sd: float = param("Their standard deviation.", default=1.0, above=0)

    def draw(self, generator: np.random.Generator) -> float:
        return float(generator.normal(self.config.mean, self.config.sd))

    def probes(self) -> list[Any]:
        return [self.config.mean]


@spaces.register("qrandn")
class QRandN(Space):
    """Draw a normally distributed number and round it to a multiple of ``q``; an integer if ``q`` is one."""

    class Config(Space.Config):
        mean: float = param("Mean of the numbers.", default=0.0)
        sd: float = param("Their standard deviation.", default=1.0, above=0)
        q: float = param("Distance of two numbers.", above=0)

    def draw(self, generator: np.random.Generator) -> float | int:
        return self._rounded(float(generator.normal(self.config.mean, self.config.sd)))

    def probes(self) -> list[Any]:
        return [self._rounded(self.config.mean)]

    def _rounded(self, number: float) -> float | int:
        q = self.config.q
        steps = round(number / q)
        return steps * int(q) if float(q).is_integer() else float(f"{steps * q:.12g}")
