"""Predictions of any model on any table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from declarlm.inference.llm_predictor import predict_llm
from declarlm.models.ecd import Ecd
from declarlm.models.llm import Llm

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.features.base import OutputFeature, Raw
    from declarlm.inference.generation import Generation
    from declarlm.models.base import Model


def predict_rows(
    model: Model, table: pd.DataFrame, generation: Generation, only: list[OutputFeature] | None = None
) -> dict[str, Raw]:
    """Return what the model says about each output for each row, in the table's order.

    Raises:
        DataError: If a column is missing or a cell cannot be read.
    """
    import torch

    model.module.eval()
    with torch.inference_mode():
        if isinstance(model, Llm):
            return predict_llm(model, table, generation, only)
        heads = cast(Ecd, model)
        raws = heads.predict(heads.encode_inputs(table))
    wanted = {output.name for output in (model.outputs if only is None else only)}
    return {name: raw for name, raw in raws.items() if name in wanted}


def prediction_table(outputs: list[OutputFeature], raws: Mapping[str, Raw], index: pd.Index) -> pd.DataFrame:
    """Return the prediction columns of all outputs, with the given index, in the given order."""
    import pandas as pd

    columns = {
        name: values
        for output in outputs
        if output.name in raws
        for name, values in output.columns(raws[output.name]).items()
    }
    # Lists are placed by position; Series would be aligned by index, which may hold duplicates.
    return pd.DataFrame(columns, index=index)
