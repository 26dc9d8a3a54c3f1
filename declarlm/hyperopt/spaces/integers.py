"""Spaces of integers, named as in Ray Tune: without ``q``, the upper end is not drawn."""

from __future__ import annotations

from collections.abc import Iterable

from declarlm.core import Problem, Section, param
from declarlm.hyperopt.spaces.base import Interval, Space, spaces


class IntegerBounds(Section):
    """Two ends of a space of integers, of which the upper one is not drawn."""

    lower: int = param("Smallest integer.")
    upper: int = param("The integer after the largest.")

    def check(self) -> Iterable[Problem]:
        if self.lower >= self.upper:
            yield Problem("upper", f"must be above lower ({self.lower}), got {self.upper}")


class IntegerSteps(Section):
    """Two ends of a space of integers and their distance; both ends are drawn."""

    lower: int = param("Smallest integer.")
    upper: int = param("Largest integer.")
    q: int = param("Distance of two integers; the ends must be multiples of it.", default=1, min=1)

    def check(self) -> Iterable[Problem]:
        if self.lower >= self.upper:
            yield Problem("upper", f"must be above lower ({self.lower}), got {self.upper}")
        for name, value in (("lower", self.lower), ("upper", self.upper)):
            if value % self.q:
                yield Problem(name, f"must be a multiple of q ({self.q}), got {value}")


@spaces.register("randint")
class RandInt(Space):
    """Draw an integer from ``lower`` to ``upper - 1``, each as likely as any other."""

    class Config(Space.Config, IntegerBounds):
        pass

    @property
    def shape(self) -> Interval:
        return Interval(self.config.lower, self.config.upper - 1, step=1, is_integer=True)


@spaces.register("qrandint")
class QRandInt(Space):
    """Draw a multiple of ``q`` from ``lower`` to ``upper``, each as likely as any other."""

    class Config(Space.Config, IntegerSteps):
        pass

    @property
    def shape(self) -> Interval:
        return Interval(self.config.lower, self.config.upper, step=self.config.q, is_integer=True)


@spaces.register("lograndint")
class LogRandInt(Space):
    """Draw an integer from ``lower`` to ``upper - 1`` whose order of magnitude is uniform."""

    class Config(Space.Config, IntegerBounds):
        lower: int = param("Smallest integer.", min=1)
        base: float = param("Accepted from Ludwig; the numbers drawn are the same for any base.", default=10.0, above=1)

    @property
    def shape(self) -> Interval:
        return Interval(self.config.lower, self.config.upper - 1, step=1, log=True, is_integer=True)


@spaces.register("qlograndint")
class QLogRandInt(Space):
    """Draw a multiple of ``q`` from ``lower`` to ``upper`` whose order of magnitude is uniform."""

    class Config(Space.Config, IntegerSteps):
        lower: int = param("Smallest integer.", min=1)
        base: float = param("Accepted from Ludwig; the numbers drawn are the same for any base.", default=10.0, above=1)

    @property
    def shape(self) -> Interval:
        return Interval(self.config.lower, self.config.upper, step=self.config.q, log=True, is_integer=True)
