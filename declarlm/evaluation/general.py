"""How well a language model still reads text that its task has nothing to do with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.core.batching import in_batches
from declarlm.data.tables import read_table
from declarlm.features.cells import as_texts
from declarlm.models.causal import collate

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.models.llm import Llm


@dataclass(frozen=True)
class Forgetting:
    """The loss on general text before and after training.

    Attributes:
        base: Mean loss of the base, in nats a token.
        tuned: The same of the tuned model.
        tokens: How many were read.
    """

    base: float
    tuned: float
    tokens: int

    @property
    def sentence(self) -> str:
        """What a person should know of it."""
        change = self.tuned - self.base
        how = "more" if change > 0 else "less"
        return (
            f"loss on {self.tokens} tokens of general text: base {self.base:.4f}, tuned {self.tuned:.4f}, "
            f"{abs(change):.4f} {how}"
        )

    def metrics(self) -> dict[str, float]:
        """Return it as metrics: ``loss``, ``base_loss`` and how much the loss rose."""
        return {"loss": self.tuned, "base_loss": self.base, "rise": self.tuned - self.base}


def read_general(dataset: Any, named: Sequence[str]) -> list[str]:
    """Return the general texts of a table or file: the lines of a text file are one text, other rows one each.

    Raises:
        DataError: As ``general_texts``, or if it cannot be read.
    """
    table = read_table(dataset)
    if isinstance(dataset, str | Path) and str(dataset).lower().endswith((".txt", ".txt.gz")):
        table = table.iloc[:1].assign(text="\n".join(as_texts(table["text"]).fillna("")))
    return general_texts(table, named)


def general_texts(table: pd.DataFrame, named: Sequence[str]) -> list[str]:
    """Return the general texts of a table: the cells of its one column, or of the first one of the given names.

    Raises:
        DataError: If it is not clear which column holds them, or none of its cells has text.
    """
    known = [str(name) for name in table.columns]
    column = known[0] if len(known) == 1 else next((name for name in named if name in known), None)
    if column is None:
        wanted = " or ".join(dict.fromkeys(named))
        raise DataError(f"general text needs one column, or one that is named {wanted}; got: {', '.join(known)}")
    return column_texts([table], column)


def column_texts(tables: Sequence[pd.DataFrame], column: str) -> list[str]:
    """Return the texts in a column of tables; cells without text are left out.

    Raises:
        DataError: If none of them has text.
    """
    texts = [text for table in tables for text in as_texts(table[column]).dropna() if text.strip()]
    if not texts:
        raise DataError("has no general text in any row", column=column)
    return texts


def text_loss(model: Llm, texts: Sequence[str]) -> tuple[float, int]:
    """Return the mean loss of the next token over texts that are laid end to end, and the number of tokens.

    Raises:
        ModelError: If the base states no context length.
    """
    from declarlm.layers.causal_model import evaluating

    store = model.pack_texts(texts)
    total = 0.0

    def run(rows: np.ndarray[Any, Any]) -> None:
        nonlocal total
        tokens = store.tokens
        parts = [part.take(rows) for part in (tokens.ids, tokens.roles, tokens.fields)]
        total += float(model.module.losses(collate(model.module, *parts)))

    with evaluating(model.module):
        in_batches(store.costs, model.module.device, run)
    count = int(store.supervised.sum())
    return total / count, count
