"""Tokens of texts: batches of their ids, and which of them stand for words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.core.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch


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


def word_tokens(
    tokens: Sequence[np.ndarray[Any, Any]], words: Sequence[Sequence[tuple[int, int]]], *, last: bool
) -> Ragged:
    """Return which token stands for each word: the first that shares a character with it, or the last one.

    Args:
        tokens: Where each token of each text starts and ends, ``int (tokens, 2)``.
        words: Where each word does.
        last: Whether it is the last token.

    Returns:
        The place of the token in its row, ``int32``; -1 for a word of which no token is left.
    """
    import numpy as np

    rows = []
    for spans, wanted in zip(tokens, words, strict=True):
        places = np.flatnonzero(spans[:, 1] > spans[:, 0])  # Special tokens stand for no characters.
        if not len(wanted) or not len(places):
            rows.append(np.full(len(wanted), -1))
            continue
        starts, ends = spans[places].T
        word_starts, word_ends = np.array(wanted).T
        if last:
            found = np.searchsorted(starts, word_ends, side="left") - 1
            shared = (found >= 0) & (ends[found] > word_starts)
        else:
            found = np.searchsorted(ends, word_starts, side="right")
            found, shared = found.clip(max=len(places) - 1), found < len(places)
            shared &= starts[found] < word_ends
        rows.append(np.where(shared, places[found], -1))
    return Ragged.from_rows(rows)
