"""All rewards of answers, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.core import ModelError, named_at
from declarlm.rewards.base import Reward

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Judged:
    """How good answers are.

    Attributes:
        total: Weighted sum of their rewards, ``float64 (answers,)``.
        parts: Each reward by its type, numbered from the second of a type, without its weight.
    """

    total: np.ndarray[Any, Any]
    parts: dict[str, np.ndarray[Any, Any]]


class Judges:
    """Rewards that are ready to judge.

    Args:
        configs: The rewards.
        output: Column of the answers that are known.
        columns: Columns of the rows.
        open_run: Returns the model of a run directory.

    Raises:
        ModelError: If a reward cannot judge such answers.
    """

    def __init__(
        self, configs: Sequence[Reward.Config], output: str, columns: Sequence[str], open_run: Callable[[str], Any]
    ) -> None:
        self._rewards: dict[str, Reward] = {}
        for config in configs:
            kind = str(config.type)
            same = sum(name.split("_#")[0] == kind for name in self._rewards)
            self._rewards[f"{kind}_#{same + 1}" if same else kind] = config.build()
        for place, reward in enumerate(self._rewards.values()):
            with named_at(f"trainer.rewards[{place}]"):
                reward.begin(output, columns, open_run)

    def judge(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Judged:
        """Return the rewards of answers; the arguments are those of ``Reward.score``.

        Raises:
            ModelError: If a reward is not one finite number for each answer.
        """
        import numpy as np

        total, parts = np.zeros(len(answers)), {}
        for name, reward in self._rewards.items():
            scores = np.asarray(reward.score(answers, known, rows), dtype=np.float64)
            if scores.shape != (len(answers),):
                raise ModelError(
                    f"reward {name!r} must be a number for each of {len(answers)} answers, got {scores.shape}"
                )
            if not np.isfinite(scores).all():
                place = int((~np.isfinite(scores)).argmax())
                raise ModelError(f"reward {name!r} of {answers[place][:60]!r} is {scores[place]}, which is no number")
            name = name.replace("_#", "_")
            parts[name] = scores
            total += float(reward.config.weight) * scores
        return Judged(total, parts)
