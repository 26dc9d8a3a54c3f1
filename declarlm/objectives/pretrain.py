"""Pretraining: learn the next token of raw text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from declarlm.core import Problem, named_at, param
from declarlm.evaluation.general import Forgetting, column_texts, read_general, text_loss
from declarlm.objectives.base import Objective, objectives
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.models.base import Model, Store
    from declarlm.models.llm import Llm

FORGETTING = "forgetting"
_TEXT = "text"  # what a column of general text is usually called


@objectives.register("pretrain")
class Pretrain(Objective):
    """Learn the next token of the one text input, from a base model or from scratch.

    The rows are laid end to end, each closed by the stop token, and cut into pieces of ``sequence_length``
    tokens, so that no token is padding. Every token is supervised. With ``rows: lines`` the rows are the lines of one
    text, as those of a text file are, and the line breaks between them are learned too.
    With ``forgetting``, the loss on general text is measured before training, at each evaluation
    (``forgetting.loss``) and at the end, and the results hold it beside that of the base as
    ``general.forgetting``.
    """

    needs_outputs = False
    joins = True
    full_rate = 1e-3

    class Config(Objective.Config):
        sequence_length: int | None = param(
            "Tokens of one training piece, at most and by default (null) the context length of the model.",
            default=None,
            min=8,
        )
        rows: Literal["documents", "lines"] = param(
            "What a row is: a document, closed by the stop token, or a line of one text, such as a text file.",
            default="documents",
        )
        forgetting: str | None = param(
            "General text whose loss is measured before and after: a column of the table, or a file of one column, or "
            "one named text; the model never learns it.",
            default=None,
        )

        def check_model(self, config: Any) -> Iterable[Problem]:
            yield from super().check_model(config)
            if not config.is_llm:
                return
            if self.forgetting is not None and config.architecture is not None:
                yield Problem("trainer.forgetting", "a model from scratch has nothing to forget; leave it out")
            if self.forgetting in [feature.column or feature.name for feature in config.input_features]:
                yield Problem("trainer.forgetting", f"{self.forgetting!r} is the column that is learned; name another")
            split = config.preprocessing.split.type
            if self.rows == "lines" and split not in ("sequential", "fixed"):
                problem = f"would tear the lines of a text apart, got {split!r}; write sequential, or rows: documents"
                yield Problem("preprocessing.split.type", problem)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._general: list[str] = []
        self._before: float | None = None

    def learn(self, model: Model, *tables: pd.DataFrame) -> None:
        name = self.config.forgetting
        if name is None:
            return
        if name in tables[0].columns:
            self._general = column_texts(tables, name)
        else:
            with named_at(f"trainer.{FORGETTING}"):
                self._general = read_general(name, [_TEXT])

    def store(self, model: Model, table: pd.DataFrame) -> Store:
        return model.pack(table, length=self.config.sequence_length, as_lines=self.config.rows == "lines")

    def begin(self, model: Model, stores: Sequence[Any], group: Alone) -> None:
        if self._general:
            with group.evaluating(model.module):
                self._before, _ = text_loss(cast("Llm", model), self._general)

    def measure(
        self,
        model: Model,
        store: Any,
        *,
        rows: np.ndarray[Any, Any] | None = None,
        max_rows: int | None = None,
        group: Alone | None = None,
    ) -> dict[str, dict[str, float]]:
        found = super().measure(model, store, rows=rows, max_rows=max_rows, group=group)
        if self._before is not None and rows is None:
            loss, _ = text_loss(cast("Llm", model), self._general)
            found[FORGETTING] = {"loss": loss, "base_loss": self._before}
        return found

    def forgotten(self, model: Model) -> Forgetting | None:
        if self._before is None:
            return None
        return Forgetting(self._before, *text_loss(cast("Llm", model), self._general))
