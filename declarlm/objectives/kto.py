"""Kahneman-Tversky optimization: learn from single answers that are good or bad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from declarlm.core import DataError, param
from declarlm.core.batching import by_length
from declarlm.data.tables import require_columns
from declarlm.features.binary import FALSE, TRUE
from declarlm.features.cells import as_texts
from declarlm.models.pair_rows import PairRows, encode_pairs
from declarlm.objectives.base import objectives
from declarlm.objectives.figures import share_above, share_of_all
from declarlm.objectives.preference import PREFERENCES, Compared

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from declarlm.models.base import Model
    from declarlm.models.llm import Llm


@objectives.register("kto")
class Kto(Compared):
    """Make the answers of the output column more probable where ``label_column`` is true, and less where it is false.

    The implicit reward of an answer is ``beta`` times what its log-probability gained on the reference, see ``dpo``.
    The loss of a row is ``desirable_weight * (1 - sigmoid(reward - beta * z))`` or ``undesirable_weight * (1 -
    sigmoid(beta * z - reward))``. The baseline ``z`` is the mean gain, at least 0, of other rows' answers after the
    prompts of the step's rows; each prompt has the same other answer throughout. It has no gradient.
    Measured in validation: ``preferences.accuracy``, the share of all pairs of a good and a bad answer whose good one
    has the higher reward (ties count half), ``preferences.margin``, the difference of the mean rewards, and
    ``preferences.likelier``, as accuracy by mean log-probability; where a prompt has good and bad answers,
    ``preferences.paired_accuracy`` compares only those.
    Source: Ethayarajh et al., "KTO", 2024, https://arxiv.org/abs/2402.01306, equation 8.
    """

    full_rate = 1e-6

    class Config(Compared.Config):
        label_column: str = param("Column that says whether a row's answer is good: true or false.", default="label")
        beta: float = param("How strongly the model is held to the reference.", default=0.1, above=0)
        desirable_weight: float = param("Weight of a row with a good answer.", default=1.0, min=0)
        undesirable_weight: float = param("Weight of a row with a bad answer.", default=1.0, min=0)

        key: ClassVar[str] = "trainer.label_column"

        def column(self) -> str:
            return self.label_column

    def learn(self, model: Model, *tables: pd.DataFrame) -> None:
        for place, table in enumerate(tables):
            good = self._labels(table)
            if place == 0 and good.all() == good.any():
                found = "true" if good.all() else "false"
                raise DataError(f"is {found} in every training row; both are needed", column=self.config.label_column)

    def store(self, model: Model, table: pd.DataFrame) -> PairRows:
        output, good = model.outputs[0], self._labels(table)
        require_columns(table, [output.config.source])
        answers = output.answers(table[output.config.source])
        others = [answers[row] for row in _partners(len(answers))]
        rows = encode_pairs(cast("Llm", model), table, answers, others, also="partners")
        rows.good = good[rows.kept]
        return rows

    def right(self, model: Model, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        return self._labels(table)

    def remarks(self, model: Model, store: PairRows, num_rows: int) -> list[str]:
        remarks = super().remarks(model, store, num_rows)
        if store.good.all() == store.good.any():
            remarks += [f"all rows have the same {self.config.label_column!r}, so {PREFERENCES}.accuracy is undefined"]
        return remarks

    def _labels(self, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return whether each row's answer is good, ``bool (rows,)``.

        Raises:
            DataError: With the first row whose cell is missing, or neither true nor false.
        """
        column = self.config.label_column
        require_columns(table, [column])
        texts = as_texts(table[column])
        words = texts.str.strip().str.lower()
        wrong = ~words.isin(TRUE | FALSE).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            problem = "is missing" if texts.isna().iloc[row] else f"{texts.iloc[row]!r} is neither true nor false"
            raise DataError(
                f"{problem}; write true for a good answer, false for a bad one", column=column, row=table.index[row]
            )
        good: np.ndarray[Any, Any] = words.isin(TRUE).to_numpy()
        return good

    def costs(self, store: PairRows) -> np.ndarray[Any, Any]:
        return store.lengths[:, 0]

    def scores(self, model: Llm, store: PairRows, rows: np.ndarray[Any, Any]) -> Tensor:
        return store.log_probs(model.module, rows, which=(0,))

    def prepare(self, model: Llm, store: PairRows, rows: np.ndarray[Any, Any], budget: int) -> Any:
        import torch

        total = torch.zeros((), device=model.module.device)
        training = model.module.training
        model.module.eval()
        with torch.no_grad():  # Not inference mode: weights that are split over processes are put together here.
            for batch in by_length(store.lengths[rows, 1], budget):
                total += self._gains(
                    store, rows[batch], store.log_probs(model.module, rows[batch], which=(1,)), 1
                ).sum()
        model.module.train(training)
        return (total / len(rows)).clamp(min=0)

    def told(self, scores: Tensor, store: PairRows, rows: np.ndarray[Any, Any]) -> Any:
        return self._gains(store, rows, scores[:, 1:], 1).mean().clamp(min=0)

    def losses(
        self, store: PairRows, rows: np.ndarray[Any, Any], scores: Tensor, told: Any = None
    ) -> dict[str, Tensor]:
        import torch

        good = torch.from_numpy(store.good[rows]).to(scores.device)
        above = self.config.beta * (self._gains(store, rows, scores[:, :1], 0) - told)
        weights = torch.where(good, self.config.desirable_weight, self.config.undesirable_weight)
        return {PREFERENCES: (weights * torch.sigmoid(torch.where(good, -above, above))).sum()}

    def _gains(self, store: PairRows, rows: np.ndarray[Any, Any], scores: Tensor, which: int) -> Tensor:
        """Return by how much answers gained on the reference, ``(rows, 1)`` to ``(rows,)``."""
        import torch

        return scores[:, 0] - torch.from_numpy(store.reference[rows, which]).to(scores)

    def figures(self, store: PairRows, rows: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> dict[str, float]:
        import numpy as np

        before, good, lengths = store.reference[rows, 0], store.good[rows], store.num_answered[rows, 0]
        rewards = self.config.beta * (scores[:, 0] - before)
        both = good.any() and not good.all()
        found = {
            "accuracy": share_of_all(rewards, good),
            "margin": float(rewards[good].mean() - rewards[~good].mean()) if both else float("nan"),
            "likelier": share_of_all(scores[:, 0] / lengths, good),
            "base_accuracy": share_of_all(np.zeros(len(rows)), good),
            "base_likelier": share_of_all(before / lengths, good),
        }
        pairs = _same_prompt(store.prompts(rows), good)
        if pairs:
            better, worse = np.array(pairs).T
            found["paired_accuracy"] = share_above(rewards[better], rewards[worse])
        return found


def _partners(num_rows: int) -> list[int]:
    """Return for each row another one, each for one row, at random but always the same."""
    import numpy as np

    order = np.random.default_rng(0).permutation(num_rows)
    partners = np.empty(num_rows, dtype=np.int64)
    partners[order] = np.roll(order, 1)
    found: list[int] = partners.tolist()
    return found


def _same_prompt(prompts: Sequence[bytes], good: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """Return the rows of each pair of a good and a bad answer to one prompt."""
    bad: dict[bytes, list[int]] = {}
    for row, prompt in enumerate(prompts):
        if not good[row]:
            bad.setdefault(prompt, []).append(row)
    return [(row, other) for row, prompt in enumerate(prompts) if good[row] for other in bad.get(prompt, [])]
