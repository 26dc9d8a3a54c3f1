"""Batches of token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from declarlm.core.ragged import Ragged


def padded(rows: Ragged, pad_id: int) -> dict[str, torch.Tensor]:
    """Return the rows side by side, ids ``int64 (batch, length)`` padded on the right, and a ``bool`` mask.

    The mask goes by position: a real token that happens to be ``pad_id`` is kept.
    """
    import numpy as np
    import torch

    lengths = rows.lengths
    mask = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = rows.values
    return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}
