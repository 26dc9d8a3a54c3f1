"""How probable both answers of each row are, by a module as it is and by the one that training started from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from declarlm.core.batching import in_batches
from declarlm.core.cache import cache_folder
from declarlm.core.files import atomic_folder, verify_folder
from declarlm.models.reference import identity, reference
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np

    from declarlm.layers.causal_model import CausalModel
    from declarlm.models.llm import Llm
    from declarlm.models.pair_rows import PairRows

SCORES = "scores.npy"


def score_pairs(
    module: CausalModel,
    store: PairRows,
    *,
    rows: np.ndarray[Any, Any] | None = None,
    max_rows: int | None = None,
    group: Alone | None = None,
) -> np.ndarray[Any, Any]:
    """Return the log-probability of both answers without dropout, ``float64 (rows, 2)``.

    Processes of a ``group`` call this together, and each reads a part of the rows. ``rows`` are by default all.

    Raises:
        OutOfMemoryError: If not even one row fits into memory.
    """
    import numpy as np
    import torch

    group = group or Alone()
    asked = np.arange(len(store)) if rows is None else rows
    mine = asked[group.part(len(asked))]
    found = np.zeros((len(mine), 2))
    training = module.training
    module.eval()

    def run(places: np.ndarray[Any, Any]) -> None:
        found[places] = store.log_probs(module, mine[places]).double().cpu().numpy()

    with torch.inference_mode():
        in_batches(store.costs[mine], module.device, run, max_rows=max_rows)
    module.train(training)
    scores = np.zeros((len(asked), 2))
    parts = group.gather(found)
    for rank, part in enumerate(parts):
        scores[rank :: len(parts)] = part
    return scores


def refer(model: Llm, store: PairRows, *, at_start: bool = False, group: Alone | None = None) -> None:
    """Let the store know how probable its answers were before training; found again on disk if they were asked before.

    Args:
        model: The model that is or was trained.
        store: Its rows.
        at_start: Whether no step was made yet.
        group: The processes that call this together.

    Raises:
        DiskError: If the disk is full, broken or read-only.
    """
    if len(store.reference):
        return
    group = group or Alone()
    known = hashlib.sha256(json.dumps([1, *identity(model)]).encode())
    for part in (store.tokens.ids.values, store.tokens.ids.offsets, store.tokens.roles.values, store.kept):
        known.update(part.data)

    def compute() -> np.ndarray[Any, Any]:
        with reference(model, at_start=at_start) as module:
            return score_pairs(module, store, group=group)

    store.reference = _cached(known.hexdigest(), compute, group)


def _cached(key: str, compute: Callable[[], np.ndarray[Any, Any]], group: Alone) -> np.ndarray[Any, Any]:
    """Return the numbers of ``key``, which names all that they depend on; compute them only if there are none."""
    import numpy as np

    folder = cache_folder() / "references" / key
    # The first process decides, as computing takes all of them.
    known = np.load(folder / SCORES, allow_pickle=False) if group.is_first and verify_folder(folder) else None
    scores: np.ndarray[Any, Any] | None = group.same(known)
    if scores is None:
        scores = compute()
        if group.is_first:
            with atomic_folder(folder, shared=True) as temporary:
                np.save(temporary / SCORES, scores)
    return scores
