"""What every reward has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import Registry, Section, param

if TYPE_CHECKING:
    import pandas as pd

rewards: Registry[Reward] = Registry("reward", package="declarlm.rewards")


class Reward:
    """Judge written answers.

    Attributes:
        config: Its entry in ``trainer.rewards``.
    """

    class Config(Section):
        weight: float = param(
            "What the reward is multiplied by before rewards are added; below 0 it is a cost.", default=1.0
        )

    def __init__(self, config: Any) -> None:
        self.config = config

    def begin(self, output: str, columns: Sequence[str], open_run: Callable[[str], Any]) -> None:
        """Make ready to judge, before the first answer.

        Args:
            output: Column of the answers that are known.
            columns: Columns of the rows.
            open_run: Returns the model of a run directory, which can predict tables.

        Raises:
            ConfigError: If the reward names something that is not there.
            ModelError: If this reward cannot judge such answers.
            RunError: If a run cannot be opened.
        """

    def score(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Sequence[float]:
        """Return the reward of each answer, without the weight.

        Args:
            answers: What was written.
            known: The answers that stand in the table.
            rows: The row of each answer.
        """
        raise NotImplementedError
