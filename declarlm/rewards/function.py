"""Reward by a Python function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from declarlm.core import ConfigError, Problem, param
from declarlm.core.errors import choose_from
from declarlm.rewards.base import Reward, rewards

if TYPE_CHECKING:
    import pandas as pd

Judge: TypeAlias = Callable[[Sequence[str], Any], Sequence[float]]
Given = TypeVar("Given", bound=Judge)

_functions: dict[str, Judge] = {}


def reward_function(name: str) -> Callable[[Given], Given]:
    """Return a decorator that makes a function known as ``name`` to ``{type: function, function: name}``.

    The function takes a list of answers and a DataFrame with the row of each, and returns a number for each.
    """

    def decorate(function: Given) -> Given:
        _functions[name] = function
        return function

    return decorate


@rewards.register("function")
class Function(Reward):
    """Ask a Python function that was registered by ``declarlm.rewards.reward_function`` before training."""

    class Config(Reward.Config):
        function: str = param("Name under which the function was registered.")

    def begin(self, output: str, columns: Sequence[str], open_run: Callable[[str], Any]) -> None:
        name = self.config.function
        if name not in _functions:
            known = choose_from(name, _functions) if _functions else repr(name)
            problem = f"no reward function is named {known}; register it by declarlm.rewards.reward_function"
            raise ConfigError("config", [Problem("trainer.rewards", problem)])

    def score(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Sequence[float]:
        return list(_functions[self.config.function](list(answers), rows))
