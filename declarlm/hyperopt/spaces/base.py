"""What every space has in common: a shape that a searcher understands, and how a value is drawn from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import Registry, Section

if TYPE_CHECKING:
    import numpy as np

spaces: Registry[Space] = Registry("space", package="declarlm.hyperopt.spaces", key="space")


@dataclass(frozen=True)
class Options:
    """A finite set of values without an order."""

    values: list[Any]

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.values)

    def at(self, place: int) -> Any:
        """Return the value at a place, counted from 0."""
        return self.values[place]

    def draw(self, generator: np.random.Generator) -> Any:
        """Return one of the values, each as likely as any other."""
        return self.values[int(generator.integers(len(self.values)))]


@dataclass(frozen=True)
class Interval:
    """The numbers from ``lower`` to ``upper``, both included.

    Attributes:
        lower: Smallest number.
        upper: Largest number.
        step: Distance of two numbers, from ``lower`` on; none for all of them.
        log: Whether the logarithm is uniform, not the number.
        is_integer: Whether the numbers are integers.
    """

    lower: float
    upper: float
    step: float | None = None
    log: bool = False
    is_integer: bool = False

    def draw(self, generator: np.random.Generator) -> float | int:
        """Return a number, each as likely as any other, or each of their logarithms."""
        scale = math.log if self.log else float
        if self.step is None:
            at = generator.uniform(scale(self.lower), scale(self.upper))
            return min(self.upper, max(self.lower, math.exp(at) if self.log else at))
        # Each number has the stretch of half a step around it, so that the two at the ends are as likely as the rest.
        half = self.step / 2
        lowest = max(self.lower - half, self.lower / 2) if self.log else self.lower - half
        at = generator.uniform(scale(lowest), scale(self.upper + half))
        steps = round(((math.exp(at) if self.log else at) - self.lower) / self.step)
        return self.at(min(self.count - 1, max(0, steps)))

    @property
    def count(self) -> int:
        """Number of numbers in it; 0 if there is no end of them."""
        return 0 if self.step is None else round((self.upper - self.lower) / self.step) + 1

    def at(self, place: int) -> float | int:
        """Return the number that lies some steps from the smallest."""
        found = self.lower + place * (self.step or 0)
        # 0.1 + 2 * 0.1 is 0.30000000000000004, which nobody wants to read in a config.
        return round(found) if self.is_integer else float(f"{found:.12g}")

    def nearest(self, number: float) -> float | int:
        """Return the number of the interval that is nearest to one that arithmetic has moved a little."""
        return self.at(round((number - self.lower) / (self.step or 1)))


class Space:
    """Give a parameter its values.

    Attributes:
        is_grid: Whether each value is tried, not drawn.
        follows: Whether the value follows from that of another parameter.
    """

    is_grid: ClassVar[bool] = False
    follows: ClassVar[bool] = False

    class Config(Section):
        pass

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def shape(self) -> Options | Interval | None:
        """What a searcher chooses from; nothing if values can only be drawn."""
        return None

    def draw(self, generator: np.random.Generator) -> Any:
        """Return a value."""
        if self.shape is None:
            raise NotImplementedError
        return self.shape.draw(generator)

    def derive(self, sample: Mapping[str, Any]) -> Any:
        """Return the value that follows from those of the other parameters."""
        raise NotImplementedError

    def probes(self) -> list[Any]:
        """Return values that a config must allow: all of a finite set, the two ends of an interval."""
        match self.shape:
            case Options(values):
                return values
            case Interval(lower, upper):
                return [lower, upper]
        return []
