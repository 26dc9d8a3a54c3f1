"""Rows as examples for other rows: what they are found by, how they are shown, and how many do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.data.retrieval import ExampleIndex
from declarlm.models.llm_cells import answers_of
from declarlm.prompts.segments import cell_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.models.prompted import Prompted


def index_rows(model: Prompted, table: pd.DataFrame, seed: int) -> ExampleIndex | None:
    """Return the rows of the training split as examples, None if the prompt shows none.

    Raises:
        DataError: If there are too few of them.
    """
    retrieval = model.sections.prompt.retrieval
    if retrieval is None:
        return None
    rows, tokenizer = model.cells(table), model.backbone.tokenizer
    answers = zip(*(answers_of(output, table, tokenizer) for output in model.outputs), strict=True)
    found = zip(rows, answers, table.index, strict=True)
    examples = [model.encoder.example(cells, answer, label) for cells, answer, label in found]
    return ExampleIndex(retrieval, seed, queries(model, rows), examples).check()


def queries(model: Prompted, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the inputs that the prompt reads, or without any all that it reads, as one text for each row."""
    read = model.encoder.columns
    names = [feature.name for feature in model.inputs if feature.name in read] or read
    return ["\n".join(cell_text(row[name]) for name in names) for row in rows]


def left_out(model: Prompted, counts: np.ndarray[Any, Any], num_rows: int) -> list[str]:
    """Return how many of ``num_rows`` prompts lack examples, or turns of a conversation, if some do."""
    shorter, total = int((counts > 0).sum()), int(counts.sum())
    if model.sections.is_chat:
        found = f"{shorter} of {num_rows} conversations lost their oldest exchanges, {total} in all,"
    else:
        found = f"{shorter} of {num_rows} prompts show fewer examples, {total} less in all,"
    return [f"{found} to fit into {model.max_length} tokens"] if shorter else []
