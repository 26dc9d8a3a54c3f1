"""The vectors that a model's encoder gives to texts, for search and comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core import ModelError
from declarlm.core.batching import in_batches
from declarlm.core.errors import choose_from
from declarlm.core.ragged import Ragged
from declarlm.data.hidden import token_budget
from declarlm.data.tables import require_columns
from declarlm.models.contrasts import encode
from declarlm.models.ecd import Ecd

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.models.base import Model


def embed_rows(model: Model, table: pd.DataFrame, feature: str | None = None) -> np.ndarray[Any, Any]:
    """Return the vector of each row of an input at length 1, in the table's order, ``float32 (rows, width)``.

    Args:
        model: A model with encoders.
        table: Rows with the input's column; no other is read.
        feature: Name of the input; by default the first one.

    Raises:
        ModelError: If the model has no encoder, or no such input.
        DataError: If the column is missing or a cell cannot be read.
    """
    import numpy as np
    import torch
    from torch.nn import functional

    if not isinstance(model, Ecd):
        raise ModelError("a language model has no encoder; train an encoder on the column with model_type ecd")
    inputs = {one.name: one for one in model.inputs}
    if feature is not None and feature not in inputs:
        raise ModelError(f"no input feature is named {choose_from(feature, inputs)}")
    chosen = model.inputs[0] if feature is None else inputs[feature]
    require_columns(table, [chosen.config.source])
    encoder, module = model.encoder(chosen.name)
    values = encoder.transform(chosen.transform(table[chosen.config.source]))
    found = np.zeros((len(table), int(module.width)), dtype=np.float32)

    def run(rows: np.ndarray[Any, Any]) -> None:
        some = values.take(rows) if isinstance(values, Ragged) else values[rows]
        found[rows] = functional.normalize(encode(model, chosen.name, some).float(), dim=-1).cpu().numpy()

    model.module.eval()
    with torch.inference_mode():
        in_batches(encoder.costs(values), model.device, run, token_budget(model.device))
    return found
