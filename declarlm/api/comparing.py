"""A tuned model beside its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from declarlm.api.evaluating import Predicts
from declarlm.config import LlmConfig
from declarlm.core import ModelError
from declarlm.data.tables import local_files, read_table
from declarlm.data.write import records
from declarlm.evaluation.general import Forgetting, column_texts, read_general, text_loss
from declarlm.models.llm import Llm
from declarlm.models.reference import base_of

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model

BASE, TUNED = "base", "tuned"
TEXT = "text"  # what a column of general text is usually called


@dataclass(frozen=True, eq=False)
class Comparison:
    """A tuned model beside its base, on the same rows.

    Attributes:
        metrics: Value by ``base`` and ``tuned``, output feature and metric.
        samples: Rows whose answers differ, then others: the columns that are read, and of each output the truth
            (``<output>``), ``<output>_base`` and ``<output>_tuned``; indexed as the dataset.
        changed: By output, in how many rows the answers differ.
        rows: How many rows were asked.
        forgetting: The loss on general text before and after, if there was any.
    """

    metrics: dict[str, dict[str, dict[str, float]]]
    samples: pd.DataFrame
    changed: dict[str, int]
    rows: int
    forgetting: Forgetting | None = None

    def dump(self) -> dict[str, Any]:
        """Return all of it as JSON data."""
        return {
            "metrics": self.metrics,
            "rows": self.rows,
            "changed": self.changed,
            "forgetting": None if self.forgetting is None else asdict(self.forgetting),
            "samples": records(self.samples),
        }


class Compares(Predicts):
    """The verb that puts a tuned model beside its base."""

    def compare(
        self,
        dataset: Any,
        *,
        general: Any = None,
        samples: int = 5,
        generation: Mapping[str, Any] | None = None,
        adapter: str | None = None,
    ) -> Comparison:
        """Return metrics and answers of the tuned model and of its base, on rows whose answers are known.

        The base is asked as the tuned model is: with its prompts, and without its adapter. Where all weights were
        trained, or the adapter is merged, the base is loaded beside it.

        Args:
            dataset: Rows with the columns that are read and predicted.
            general: Table or file of text that the task has nothing to do with: one column, or one named ``text``,
                on which the loss before and after says what was forgotten; the lines of a text file are one text.
                By default what ``trainer.forgetting`` names, if it is still there.
            samples: How many rows to show.
            generation: Keys of the ``generation`` section that are to be different for this call.
            adapter: Name of one of several adapters; by default the one in use.

        Raises:
            DataError: If a column is missing or a cell cannot be read.
            ModelError: If there is no base that could answer: an encoder's heads are made by training.
            RunError: If the model must be trained first.
        """
        if not isinstance(self.config, LlmConfig):
            raise ModelError("the heads of an encoder are made by training, so there is no base that could answer")
        if not (self.config.objective.trains or self.adapters):
            raise ModelError(f"trainer.type {self.config.trainer.type!r} trains nothing: the model is its base")
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        texts = self._general_texts(table) if general is None else read_general(general, [TEXT])
        chosen = adapter if adapter is not None or not self.adapters else self._adapter_in_use()
        tuned = self._evaluate(table, generation, adapter=chosen)
        before = self._evaluate(table, generation, adapter=chosen, under=_base)
        model = self._under(self._ready(), chosen or BASE)
        shown, changed = _samples(model, table, before.predictions, tuned.predictions, samples)
        forgetting = None if texts is None else _forgetting(model, texts)
        return Comparison({BASE: before.metrics, TUNED: tuned.metrics}, shown, changed, len(table), forgetting)

    def _general_texts(self, table: pd.DataFrame) -> list[str] | None:
        """Return the general texts that training was measured on, if there were any and they can still be read."""
        name = getattr(self.config.trainer, "forgetting", None)
        if name is None:
            return None
        if name in table.columns:
            return column_texts([table], name)
        return read_general(name, [TEXT]) if local_files(name) else None


@contextmanager
def _base(model: Model) -> Iterator[Model]:
    assert isinstance(model, Llm)  # noqa: S101  the config says so
    with base_of(model) as base:
        yield base


def _forgetting(model: Model, texts: list[str]) -> Forgetting:
    assert isinstance(model, Llm)  # noqa: S101  the config says so
    tuned, tokens = text_loss(model, texts)
    with base_of(model) as base:
        before, _ = text_loss(base, texts)
    return Forgetting(before, tuned, tokens)


def _samples(
    model: Model, table: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, most: int
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return rows with both answers, those where they differ first, and how many differ by output."""
    import numpy as np
    import pandas as pd

    read = [name for name in model.columns_read(table) if name in table.columns]
    columns: dict[str, Any] = {name: list(table[name]) for name in read}
    changed: dict[str, int] = {}
    differ = np.zeros(len(table), dtype=bool)
    for output in model.outputs:
        name = f"{output.name}_predictions"
        answers = {BASE: list(before[name]), TUNED: list(after[name])}
        known = table[output.config.source]
        # Of a conversation that is read and answered, the truth is what it says last.
        columns[output.name] = list(output.read(known) if output.config.source in read else known)
        columns |= {f"{output.name}_{who}": values for who, values in answers.items()}
        other = np.array([repr(one) != repr(two) for one, two in zip(*answers.values(), strict=True)], dtype=bool)
        changed[output.name] = int(other.sum())
        differ |= other
    chosen = np.argsort(~differ, kind="stable")[:most]
    return pd.DataFrame(columns, index=table.index).iloc[chosen], changed
