"""Reward by a trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import ModelError, param
from declarlm.core.errors import choose_from
from declarlm.rewards.base import Reward, rewards

if TYPE_CHECKING:
    import pandas as pd


@rewards.register("run")
class RunReward(Reward):
    """Ask a model that Declarlm trained how good an answer is: the probability of a label, or a number.

    It reads the columns of the row, with the written answer in place of the known one.
    """

    class Config(Reward.Config):
        run: str = param("Run directory of a model with a category, binary or number output.")
        label: str | None = param("Label whose probability is the reward; null for a number.", default=None)
        output: str | None = param("Output of that model; null is its first.", default=None)
        answer_column: str | None = param(
            "Column in which that model reads the answer; null is the column of the answers here.", default=None
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._judge: Any = None
        self._answers = ""
        self._output: Any = None

    def begin(self, output: str, columns: Sequence[str], open_run: Callable[[str], Any]) -> None:
        config = self.config
        self._judge = open_run(config.run)
        self._answers = config.answer_column or output
        outputs = {feature.name: feature for feature in self._judge.outputs}
        name = config.output or next(iter(outputs), "")
        if name not in outputs:
            raise ModelError(f"{config.run}: no output is named {choose_from(name, outputs)}")
        read = {feature.config.source for feature in self._judge.inputs}
        if self._answers not in read:
            remedy = "write as answer_column of the reward where it reads the answer"
            raise ModelError(f"{config.run} reads no column {choose_from(self._answers, sorted(read))}; {remedy}")
        if missing := sorted(read - {self._answers, *columns}):
            raise ModelError(f"{config.run} reads the column {missing[0]!r}, which the rows do not have")
        self._output = outputs[name]
        kind, labels = self._output.config.type, self._output.labels
        if kind == "number" and config.label is not None:
            raise ModelError(f"{config.run}: the output {name!r} is a number; leave out label of the reward")
        if kind not in ("number", "category", "binary"):
            raise ModelError(f"{config.run}: the output {name!r} is of type {kind}, which gives no number")
        if labels and config.label not in labels:
            raise ModelError(
                f"{config.run}: label of the reward: no label is named {choose_from(str(config.label), labels)}"
            )

    def score(self, answers: Sequence[str], known: Sequence[str], rows: pd.DataFrame) -> Sequence[float]:
        table = rows.assign(**{self._answers: list(answers)}).reset_index(drop=True)
        found, name = self._judge.predict(table), self._output.name
        if not self._output.labels:
            return [float(number) for number in found[f"{name}_predictions"]]
        place = self._output.labels.index(self.config.label)
        return [float(row[place]) for row in found[f"{name}_probabilities"]]
