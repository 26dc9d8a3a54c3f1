"""Spaces of numbers with fractions, named as in Ray Tune."""

from __future__ import annotations

from collections.abc import Iterable

from declarlm.core import Problem, Section, param
from declarlm.hyperopt.spaces.base import Interval, Space, spaces


class Bounds(Section):
    """Two ends of a space of numbers."""

    lower: float = param("Smallest number.")
    upper: float = param("Largest number.")

    def check(self) -> Iterable[Problem]:
        if self.lower >= self.upper:
            yield Problem("upper", f"must be above lower ({self.lower:g}), got {self.upper:g}")


class LogBounds(Bounds):
    """Two ends of a space of numbers whose logarithm is drawn."""

    lower: float = param("Smallest number.", above=0)
    base: float = param("Accepted from Ludwig; the numbers drawn are the same for any base.", default=10.0, above=1)


class Step(Section):
    """How far two numbers of a space lie apart."""

    q: float = param("Distance of two numbers; the ends must be multiples of it.", above=0)

    def check_multiples(self, lower: float, upper: float) -> Iterable[Problem]:
        """Yield each end that is no multiple of the step."""
        for name, value in (("lower", lower), ("upper", upper)):
            if abs(value / self.q - round(value / self.q)) > 1e-9:
                yield Problem(name, f"must be a multiple of q ({self.q:g}), got {value:g}")


def steps_of(lower: float, upper: float, q: float, *, log: bool) -> Interval:
    """Return the multiples of ``q`` between two ends; integers, if ``q`` is one, as integers."""
    whole = all(float(value).is_integer() for value in (lower, upper, q))
    return Interval(lower, upper, step=q, log=log, is_integer=whole)


@spaces.register("uniform")
class Uniform(Space):
    """Draw a number, each as likely as any other."""

    class Config(Space.Config, Bounds):
        pass

    @property
    def shape(self) -> Interval:
        return Interval(self.config.lower, self.config.upper)


@spaces.register("quniform")
class QUniform(Space):
    """Draw a multiple of ``q``, each as likely as any other; integers if ``q`` and both ends are integers."""

    class Config(Space.Config, Step, Bounds):
        def check(self) -> Iterable[Problem]:
            yield from Bounds.check(self)
            yield from self.check_multiples(self.lower, self.upper)

    @property
    def shape(self) -> Interval:
        return steps_of(self.config.lower, self.config.upper, self.config.q, log=False)


@spaces.register("loguniform")
class LogUniform(Space):
    """Draw a number whose order of magnitude is uniform: 1e-5 to 1e-4 is as likely as 1e-4 to 1e-3."""

    class Config(Space.Config, LogBounds):
        pass

    @property
    def shape(self) -> Interval:
        return Interval(self.config.lower, self.config.upper, log=True)


@spaces.register("qloguniform")
class QLogUniform(Space):
    """Draw a multiple of ``q`` whose order of magnitude is uniform."""

    class Config(Space.Config, Step, LogBounds):
        def check(self) -> Iterable[Problem]:
            yield from Bounds.check(self)
            yield from self.check_multiples(self.lower, self.upper)

    @property
    def shape(self) -> Interval:
        return steps_of(self.config.lower, self.config.upper, self.config.q, log=True)
