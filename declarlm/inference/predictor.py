"""Predictions of any model on any table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from declarlm.core import DataError
from declarlm.data.columns import objects
from declarlm.features.base import Raw
from declarlm.inference.llm_predictor import is_scored, predict_llm
from declarlm.inference.unreadable import unreadable
from declarlm.models.ecd import Ecd, EcdStore
from declarlm.models.few_shot import left_out
from declarlm.models.llm import Llm
from declarlm.models.llm_rows import LlmRows
from declarlm.training.progress import tell

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.features.base import OutputFeature
    from declarlm.inference.generation import Generation
    from declarlm.models.base import Model


def predict_rows(
    model: Model, table: pd.DataFrame, generation: Generation, only: list[OutputFeature] | None = None
) -> dict[str, Raw]:
    """Return what the model says about each output for each row, in the table's order.

    Raises:
        DataError: If a column is missing or a cell cannot be read.
    """
    return _predict(model, _read(model, table), generation, only)


def predict_table(model: Model, table: pd.DataFrame, generation: Generation) -> tuple[pd.DataFrame, dict[int, str]]:
    """Return the prediction columns of all rows, and of those that failed, by position, the reasons.

    A row that cannot be read has missing values, and the reason in ``<output>_error``.

    Raises:
        DataError: If a column is missing.
    """
    model.check_columns(table)
    reasons: dict[int, str] = {}
    rows = None
    try:
        rows = _read(model, table)
    except DataError:
        columns = [(feature.config.source, feature.transform) for feature in model.inputs if isinstance(model, Ecd)]
        reasons = unreadable(lambda part: _read(model, part), table, columns)
        readable = table.iloc[[row for row in range(len(table)) if row not in reasons]]
        if len(readable):
            rows = _read(model, readable)
    if isinstance(rows, LlmRows):
        tell(left_out(cast(Llm, model), rows.tokens.num_left_out, len(rows)), None)
    raws = _no_raws(model) if rows is None else _predict(model, rows, generation)
    return prediction_table(model.outputs, raws, table.index, reasons), reasons


def remarks_on(reasons: Mapping[int, str], num_rows: int) -> list[str]:
    """Return what a person should know about rows that failed for the given reasons, by position."""
    failed = f"{len(reasons)} of {num_rows} rows could not be predicted, the first one because "
    return [failed + reasons[min(reasons)]] if reasons else []


def prediction_table(
    outputs: list[OutputFeature], raws: Mapping[str, Raw], index: pd.Index, reasons: Mapping[int, str] | None = None
) -> pd.DataFrame:
    """Return the prediction columns of all outputs, with the given index, in the given order.

    Args:
        outputs: The columns that were predicted.
        raws: What the model says about the rows that did not fail.
        index: Labels of all rows.
        reasons: Why a row failed, by its position.
    """
    import pandas as pd

    failed = reasons or {}
    columns: dict[str, Any] = {}
    for output in outputs:
        if output.name not in raws:
            continue
        found = output.columns(raws[output.name])
        error = f"{output.name}_error"
        if failed:
            found.setdefault(error, [None] * (len(index) - len(failed)))
        for name, values in found.items():
            columns[name] = _with_gaps(values, failed if name == error else dict.fromkeys(failed), len(index))
    # Lists are placed by position; Series would be aligned by index, which may hold duplicates.
    return pd.DataFrame(columns, index=index)


def _read(model: Model, table: pd.DataFrame) -> LlmRows | EcdStore:
    """Return rows without answers as the model reads them."""
    if isinstance(model, Llm):
        return LlmRows(model.prompts(table), blanks=model.blanks(table))
    return cast(Ecd, model).encode_inputs(table)


def _predict(
    model: Model, rows: LlmRows | EcdStore, generation: Generation, only: list[OutputFeature] | None = None
) -> dict[str, Raw]:
    import torch

    model.module.eval()
    with torch.inference_mode():
        if isinstance(rows, LlmRows):
            return predict_llm(cast(Llm, model), rows.tokens.ids, generation, only, rows.blanks)
        raws = cast(Ecd, model).predict(rows)
    wanted = {output.name for output in (model.outputs if only is None else only)}
    return {name: raw for name, raw in raws.items() if name in wanted}


def _no_raws(model: Model) -> dict[str, Raw]:
    """Return what a model says where there are no rows, so that all columns are there."""
    import numpy as np

    raws = {}
    for output in model.outputs:
        if isinstance(model, Llm) and not is_scored(output):
            raws[output.name] = Raw(texts=[])
        elif isinstance(model, Llm):
            raws[output.name] = Raw(probabilities=np.zeros((0, len(output.labels))))
        else:
            raws[output.name] = output.raw(np.zeros((0, output.num_scores), dtype=np.float32))
    return raws


def _with_gaps(values: list[Any], gaps: Mapping[int, Any], num_rows: int) -> Any:
    """Return the values in order, with those of ``gaps`` at their positions between them."""
    if not gaps:
        return values
    rest = iter(values)
    cells = [gaps[row] if row in gaps else next(rest) for row in range(num_rows)]
    # pandas would make floats of whole numbers and truth values beside a missing one.
    return objects(cells) if any(isinstance(cell, int) for cell in cells) else cells
