"""Prompts of the rows of a table, and answers that a language model draws to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.core.batching import in_batches
from declarlm.core.ragged import Ragged
from declarlm.models.causal import collate
from declarlm.prompts import ANSWER, PROMPT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from declarlm.layers.causal_batch import CausalBatch
    from declarlm.layers.causal_model import CausalModel
    from declarlm.models.llm import Llm
    from declarlm.models.llm_rows import LlmRows


class PromptRows:
    """Rows of a table as prompts, beside the answers that are known.

    Attributes:
        encoded: Prompts with the known answers.
        table: The rows.
        known: The known answers, as text.
        costs: Tokens of each row with its known answer, ``(rows,)``.
        base_reward: Mean reward of the model before training; None until it is known.
    """

    def __init__(self, encoded: LlmRows, table: pd.DataFrame, known: Sequence[str]) -> None:
        self.encoded, self.table, self.known, self.costs = encoded, table, list(known), encoded.costs
        self.base_reward: float | None = None
        self._prompts: Ragged | None = None

    def __len__(self) -> int:
        return len(self.encoded)

    def prompts(self, model: Llm, rows: np.ndarray[Any, Any]) -> Ragged:
        """Return the tokens before each answer, as a prediction has them; the model knows how long answers are."""
        if self._prompts is None:
            self._prompts = model.prompts(self.table).ids
        return self._prompts.take(rows)


@dataclass(frozen=True)
class Drawn:
    """Answers to prompts, each with its prompt.

    Attributes:
        ids: Tokens of prompt and answer, a row for each answer.
        roles: Role of each token.
        texts: The answers.
    """

    ids: Ragged
    roles: Ragged
    texts: list[str]

    @classmethod
    def of(cls, prompts: Ragged, answers: Sequence[Sequence[int]], texts: list[str]) -> Drawn:
        """Put answers behind their prompts."""
        pairs = list(zip(prompts, answers, strict=True))
        ids = Ragged.from_rows([[*prompt.tolist(), *answer] for prompt, answer in pairs])
        roles = Ragged.from_rows([[PROMPT] * len(prompt) + [ANSWER] * len(answer) for prompt, answer in pairs], "uint8")
        return cls(ids, roles, texts)

    @property
    def counts(self) -> np.ndarray[Any, Any]:
        """Tokens of each answer, ``int64 (answers,)``."""
        import numpy as np

        return np.array([int((roles == ANSWER).sum()) for roles in self.roles], dtype=np.int64)

    def batch(self, module: CausalModel, places: Sequence[int] | np.ndarray[Any, Any]) -> CausalBatch:
        """Return some of the answers as tensors; their tokens come in the same order."""
        return collate(module, self.ids.take(places), self.roles.take(places))

    def log_probs(self, module: CausalModel, budget: int | None = None) -> list[Tensor]:
        """Return the log-probability of each token of each answer, without gradient and dropout, ``(tokens,)`` each."""
        import torch

        counts, found = self.counts, [torch.zeros(0)] * len(self.texts)
        training = module.training
        module.eval()

        def run(places: np.ndarray[Any, Any]) -> None:
            scores = module(self.batch(module, places)).float()
            for place, part in zip(places.tolist(), scores.split(counts[places].tolist()), strict=True):
                found[place] = part

        with torch.no_grad():
            in_batches(self.ids.lengths, module.device, run, budget)
        module.train(training)
        return found
