"""Scales: from values to places on an axis, with the ticks that belong there."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from declarlm.hyperopt.spaces import Interval, Options

MOST_TICKS = 6


@dataclass(frozen=True)
class Scale:
    """An axis of length 1.

    Attributes:
        lower: Value at 0; of a logarithmic axis, its logarithm.
        upper: Value at 1, likewise.
        log: Whether the axis is logarithmic.
        names: The values of an axis that has no numbers, in order.
    """

    lower: float = 0.0
    upper: float = 1.0
    log: bool = False
    names: tuple[str, ...] = ()

    def place(self, value: Any) -> float:
        """Return where a value lies, from 0 to 1."""
        if self.names:
            return (self.names.index(name(value)) + 0.5) / len(self.names)
        at = math.log10(value) if self.log else float(value)
        return (at - self.lower) / (self.upper - self.lower)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places with what is written there."""
        if self.names:
            return [(self.place(json.loads(text)), shown(json.loads(text))) for text in self.names]
        numbers = _powers(self.lower, self.upper) if self.log else _round_numbers(self.lower, self.upper)
        return [(self.place(number), f"{number:.4g}") for number in numbers]


def scale_of(values: Sequence[Any], shape: Options | Interval | None = None) -> Scale:
    """Return the axis of some values: of the whole space if it has a shape, else from the least to the greatest."""
    if isinstance(shape, Options) or not all(_is_number(value) for value in values):
        listed = shape.values if isinstance(shape, Options) else list(values)
        return Scale(names=tuple(dict.fromkeys(name(value) for value in _sorted(listed))))
    if isinstance(shape, Interval):
        lower, upper, log = shape.lower, shape.upper, shape.log
    else:
        lower, upper, log = min(values, default=0.0), max(values, default=1.0), False
    if lower == upper:
        lower, upper = lower - 0.5, upper + 0.5
    return Scale(math.log10(lower), math.log10(upper), log=True) if log else Scale(lower, upper)


def name(value: Any) -> str:
    """Return a value as text that tells 1 from '1'."""
    return json.dumps(value, sort_keys=True, default=str)


def shown(value: Any) -> str:
    """Return a value as a person reads it."""
    if _is_number(value):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else name(value)
    return text if len(text) <= 24 else text[:23] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sorted(values: Sequence[Any]) -> list[Any]:
    return sorted(values) if all(_is_number(value) for value in values) else list(values)


def _round_numbers(lower: float, upper: float) -> list[float]:
    """Return at most six numbers with few digits, at equal distances."""
    rough = (upper - lower) / (MOST_TICKS - 1)
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(lower / step - 1e-9)
    return [index * step for index in range(first, math.floor(upper / step + 1e-9) + 1)]


def _powers(lower: float, upper: float) -> list[float]:
    """Return powers of ten between two exponents, and what lies between them if they are few."""
    found = [10.0**exponent for exponent in range(math.ceil(lower - 1e-9), math.floor(upper + 1e-9) + 1)]
    if len(found) >= 3:
        return found[:: math.ceil(len(found) / MOST_TICKS)]
    exponents = range(math.floor(lower), math.ceil(upper) + 1)
    finer = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    return [number for number in finer if lower - 1e-9 <= math.log10(number) <= upper + 1e-9]
