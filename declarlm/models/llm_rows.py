"""Rows of a table as a language model trains on them: prompts with answers, or pieces of raw text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.ragged import Ragged
from declarlm.models.causal import count_supervised
from declarlm.prompts import ANSWER, EncodedRows, PromptEncoder

if TYPE_CHECKING:
    import numpy as np

    from declarlm.data.token_store import TokenStore

CHUNK_ROWS = 10_000


class LlmRows:
    """Encoded rows with what a trainer and an evaluation must know of them.

    Attributes:
        tokens: The rows' tokens.
        costs: Tokens of each row, ``(rows,)``.
        supervised: Tokens of each row that are learned, ``(rows,)``.
    """

    def __init__(self, tokens: TokenStore) -> None:
        self.tokens = tokens
        self.costs = tokens.ids.lengths
        self.supervised = count_supervised(tokens.roles)

    def __len__(self) -> int:
        return len(self.tokens)

    def longest_answer(self, field: int) -> int:
        """Return the most tokens that any row has as the answer of output ``field``."""
        fields, roles = self.tokens.fields, self.tokens.roles
        answer = Ragged((fields.values == field) & (roles.values == ANSWER), fields.offsets)
        return max(int(row.sum()) for row in answer)


def without_dropped(encoded: EncodedRows) -> EncodedRows:
    """Return the rows that fit."""
    import numpy as np

    if not encoded.dropped.any():
        return encoded
    kept = np.flatnonzero(~encoded.dropped)
    ids, roles, fields = (part.take(kept) for part in (encoded.ids, encoded.roles, encoded.fields))
    return EncodedRows(ids, roles, fields, num_cut=encoded.num_cut[kept], dropped=encoded.dropped[kept])


def pieces(encoder: PromptEncoder, name: str, texts: Sequence[str], size: int) -> Iterator[EncodedRows]:
    """Yield pieces of ``size`` tokens of some texts at a time; what does not fill a piece opens the next one.

    Args:
        encoder: Makes the tokens of a text without a prompt around it.
        name: What the encoder calls the text.
        texts: They are laid end to end, each closed by the stop token.
        size: Tokens of a piece; the last one may be shorter.
    """
    import numpy as np

    left = np.zeros(0, np.int32)
    for start in range(0, len(texts), CHUNK_ROWS):
        rows = encoder.encode([{name: text} for text in texts[start : start + CHUNK_ROWS]], None).ids
        stream = np.concatenate([left, np.insert(rows.values, rows.offsets[1:], encoder.stop_id)])
        end = len(stream) - len(stream) % size
        yield _supervised(stream[:end], size)
        left = stream[end:]
    if len(left) > 1:  # A piece of one token would predict nothing.
        yield _supervised(left, size)


def _supervised(stream: np.ndarray[Any, Any], size: int) -> EncodedRows:
    """Return tokens in rows of ``size``, all to be learned."""
    import numpy as np

    offsets = np.append(np.arange(0, len(stream), size), len(stream))
    roles, fields = np.full(len(stream), ANSWER, np.uint8), np.full(len(stream), -1, np.int8)
    uncut = np.zeros(len(offsets) - 1, np.int64)
    ids, roles_, fields_ = (Ragged(values, offsets) for values in (stream, roles, fields))
    return EncodedRows(ids, roles_, fields_, num_cut=uncut, dropped=uncut.astype(bool))
