"""Rows of tokens as tensors: right padded, or end to end behind a block mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from declarlm.core.ragged import Ragged


@dataclass(frozen=True)
class CausalBatch:
    """One micro-batch.

    Attributes:
        inputs: What the backbone takes; ``input_ids`` is ``(rows, length)``, or ``(1, tokens)`` if packed.
        head: Tokens that come before each row of ``inputs``, to be computed once, ``(1, shared)``.
        index: Positions in the flattened input that predict a supervised token, ``(supervised,)``.
        targets: The supervised tokens, ``(supervised,)``.
        rows: Row of each supervised token, ``(supervised,)``.
        fields: Output feature of each supervised token, -1 for none, ``(supervised,)``.
        num_rows: Rows in the batch.
        lengths: Length of the row of each token that is read, as they are laid out; None if nothing needs it.
    """

    inputs: dict[str, Any] = field(repr=False)
    head: Tensor | None
    index: Tensor
    targets: Tensor
    rows: Tensor
    fields: Tensor
    num_rows: int
    lengths: Tensor | None = None

    def by_row(self, values: Tensor) -> Tensor:
        """Return the sum of each row's tokens, ``(supervised,)`` to ``(rows,)``."""
        return values.new_zeros(self.num_rows).index_add(0, self.rows, values)

    def by_field(self, values: Tensor, num_fields: int) -> Tensor:
        """Return the sum of each output feature's tokens in each row, ``(supervised,)`` to ``(rows, fields)``."""
        cells = values.new_zeros(self.num_rows, num_fields + 1)  # The last column collects what has no feature.
        place = torch.where(self.fields < 0, num_fields, self.fields)
        return cells.index_put((self.rows, place), values, accumulate=True)[:, :num_fields]


def make_batch(
    ids: Ragged,
    supervised: Ragged,
    fields: Ragged | None,
    *,
    packed: bool,
    mask_dtype: torch.dtype,
    device: Any,
    shared: int = 0,
    measured: bool = False,
) -> CausalBatch:
    """Lay rows out as tensors, the ``shared`` tokens with which all of them begin only once.

    Their ``lengths`` are there if they are ``measured``.
    Padding stands on the right, where a causal model's real tokens never see it; so no mask is needed, and
    attention takes its fastest path.
    """
    lengths = ids.lengths
    rows = np.repeat(np.arange(len(ids)), lengths)  # (tokens,)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rest = positions >= shared
    start = shared if packed else 0  # Where the first row's rest stands.
    width = start + int(rest.sum()) if packed else int(lengths.max(initial=0)) - shared
    places = start + np.cumsum(rest) - 1 if packed else rows * width + positions - shared
    flat = np.zeros(width if packed else len(ids) * width, dtype=np.int64)
    flat[places[rest]] = ids.values[rest]
    spread = np.ones_like(flat)
    if measured:
        spread[places[rest]] = lengths[rows[rest]]
    # The first token of a row is predicted by nothing, whatever its role.
    chosen = (supervised.values != 0) & (positions > 0)

    def tensor(values: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(device)

    head = tensor(ids.values[:shared])[None] if shared and not packed else None
    inputs: dict[str, Any] = {"use_cache": head is not None}
    if packed:
        flat[:shared] = ids.values[:shared]
        owners = tensor(np.concatenate([np.full(shared, -1), rows[rest]]))
        inputs["position_ids"] = tensor(np.concatenate([np.arange(shared), positions[rest]]))[None]
        inputs["attention_mask"] = block_mask(owners, mask_dtype)
    elif shared:
        inputs["position_ids"] = tensor(np.arange(shared, shared + width)).expand(len(ids), -1)
    inputs["input_ids"] = tensor(flat).view(-1, width)
    return CausalBatch(
        inputs=inputs,
        head=head,
        index=tensor(places[chosen] - 1),
        targets=tensor(ids.values[chosen]),
        rows=tensor(rows[chosen]),
        fields=tensor(np.full(int(chosen.sum()), -1) if fields is None else fields.values[chosen]),
        num_rows=len(ids),
        lengths=tensor(spread).view(-1, width) if measured else None,
    )


def block_mask(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask by which a token sees the earlier ones of its own row, and those of row -1, which all share.

    From ``(tokens,)`` to ``(1, 1, tokens, tokens)``.
    """
    order = torch.arange(len(rows), device=rows.device)
    visible = ((rows[:, None] == rows) | (rows == -1)) & (order[:, None] >= order)
    return attention_mask(visible, dtype)[None, None]


def attention_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``visible`` (true = keep) as attention takes it: booleans, or what is added to the scores."""
    if dtype == torch.bool:
        return visible
    return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
