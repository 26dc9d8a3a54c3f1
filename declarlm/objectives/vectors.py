"""The vectors of all texts of rows, by a module as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core.batching import in_batches
from declarlm.models.contrasts import ContrastRows, text_vectors
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.models.ecd import Ecd


def unit_vectors(
    model: Ecd,
    store: ContrastRows,
    rows: np.ndarray[Any, Any],
    *,
    budget: int | None = None,
    max_rows: int | None = None,
    group: Alone | None = None,
) -> Tensor:
    """Return the vectors of all texts of rows at length 1, without gradient and dropout, in the order of ``rows``.

    Processes of a ``group`` call this together, and each reads a part of the rows.

    Raises:
        OutOfMemoryError: If not even one row fits into memory.
    """
    import torch
    from torch.nn import functional

    group = group or Alone()
    mine = rows[group.part(len(rows))]
    parts: dict[int, Tensor] = {}
    training = model.module.training
    model.module.eval()

    def run(places: np.ndarray[Any, Any]) -> None:
        found = functional.normalize(text_vectors(model, store, mine[places]).float(), dim=-1)
        parts.update(zip(places.tolist(), found, strict=True))

    with torch.no_grad():  # Not inference mode: weights that are split over processes are put together here.
        in_batches(store.costs[mine], model.device, run, budget, max_rows=max_rows)
    model.module.train(training)
    gathered = group.gather([parts[place].cpu() for place in range(len(mine))])
    found: list[Any] = [None] * len(rows)
    for rank, part in enumerate(gathered):
        found[rank :: len(gathered)] = part
    return torch.stack(found).to(model.device)
