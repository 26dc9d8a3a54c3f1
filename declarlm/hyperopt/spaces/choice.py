"""Spaces of values that are listed one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from declarlm.core import Problem, param
from declarlm.hyperopt.spaces.base import Options, Space, spaces


@spaces.register("choice")
class Choice(Space):
    """Draw one of the categories, which may be any values that a config can hold."""

    class Config(Space.Config):
        categories: list[Any] = param("The values to choose from.")

        def check(self) -> Iterable[Problem]:
            yield from check_listed("categories", self.categories)

    @property
    def shape(self) -> Options:
        return Options(self.config.categories)


@spaces.register("grid_search")
class GridSearch(Space):
    """Try every value, each with every value of the other grids."""

    is_grid = True

    class Config(Space.Config):
        values: list[Any] = param("The values to try.")

        def check(self) -> Iterable[Problem]:
            yield from check_listed("values", self.values)

    @property
    def shape(self) -> Options:
        return Options(self.config.values)


def check_listed(key: str, values: list[Any]) -> Iterable[Problem]:
    """Yield what is wrong with a list of values to choose from."""
    if not values:
        yield Problem(key, "must hold at least one value")
    for index, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:index]):
            yield Problem(f"{key}[{index}]", f"is {value!r} a second time; leave it out")
