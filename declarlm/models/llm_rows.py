"""Rows of a table as a language model trains on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.core.ragged import Ragged
from declarlm.features.cells import cell_text
from declarlm.models.causal import count_supervised
from declarlm.prompts import ANSWER, PROMPT, EncodedRows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.data.token_store import TokenStore
    from declarlm.features.base import OutputFeature

CHUNK_ROWS = 10_000
USUAL_ANSWERS = 0.95  # share of the training answers for which a prompt that must be cut leaves room


class LlmRows:
    """Encoded rows with what a trainer and an evaluation must know of them.

    Attributes:
        tokens: The rows' tokens.
        costs: Tokens of each row, ``(rows,)``.
        supervised: Tokens of each row that are learned, ``(rows,)``.
        blanks: By output, prompts without content that its labels are compared with: one for all rows, or for each.
    """

    def __init__(self, tokens: TokenStore | EncodedRows, blanks: Mapping[str, Ragged] | None = None) -> None:
        self.tokens = tokens
        self.blanks = blanks or {}
        self.costs = tokens.ids.lengths
        self.supervised = count_supervised(tokens.roles)

    def __len__(self) -> int:
        return len(self.tokens)

    def longest_answer(self, field: int) -> int:
        """Return the most tokens that any row has in a row as an answer of output ``field``."""
        import numpy as np

        places = np.flatnonzero((self.tokens.fields.values == field) & (self.tokens.roles.values == ANSWER))
        ends = np.flatnonzero(np.diff(places, append=-1) != 1)  # what ends an answer is none itself
        return int(np.diff(ends, prepend=-1).max(initial=0))

    def _last_answers(self) -> np.ndarray[Any, Any]:
        """Return the tokens of each row behind its prompt, ``int64 (rows,)``: of a conversation, its last turn.

        A row without a prompt has its first token for one.
        """
        import numpy as np

        roles = self.tokens.roles
        last_read = np.maximum.accumulate(np.where(roles.values == PROMPT, np.arange(len(roles.values)), -1))
        ends = np.asarray(roles.offsets[1:])
        length: np.ndarray[Any, Any] = ends - 1 - np.maximum(last_read[ends - 1], roles.offsets[:-1])
        return length

    def room(self, labels: int, limit: int | None) -> tuple[int, int]:
        """Return how many tokens a prompt leaves free: one that must be cut, and one that is not.

        A prompt that is as long as an uncut one in training stays whole, so that both are the same tokens; and one
        very long answer does not shorten the prompts of all other rows.

        Args:
            labels: Tokens of the longest answer if every output with labels has its longest one.
            limit: Most tokens of a row.
        """
        import numpy as np

        answers = self._last_answers()
        usual = max(labels, int(np.quantile(answers, USUAL_ANSWERS, method="lower")))
        whole = self.tokens.num_cut == 0
        if limit is None or not whole.any():
            return usual, usual
        longest_prompt = int((self.costs - answers)[whole].max())
        return usual, max(labels, min(usual, limit - longest_prompt))


def without_dropped(encoded: EncodedRows) -> EncodedRows:
    """Return the rows that fit."""
    import numpy as np

    if not encoded.dropped.any():
        return encoded
    kept = np.flatnonzero(~encoded.dropped)
    ids, roles, fields = (part.take(kept) for part in (encoded.ids, encoded.roles, encoded.fields))
    num_cut, left_out, dropped = (part[kept] for part in (encoded.num_cut, encoded.num_left_out, encoded.dropped))
    return EncodedRows(ids, roles, fields, num_cut=num_cut, num_left_out=left_out, dropped=dropped)


def with_border(encoded: EncodedRows, between: Sequence[int]) -> EncodedRows:
    """Return the rows with tokens ``between`` prompt and answer, which are not learned; empty rows stay empty."""
    import numpy as np

    if not between:
        return encoded
    ids, roles, fields = encoded.ids, encoded.roles, encoded.fields
    prompt = np.concatenate([[0], np.cumsum(roles.values == PROMPT)])[ids.offsets]
    present = ids.lengths > 0
    places = np.repeat((ids.offsets[:-1] + np.diff(prompt))[present], len(between))
    offsets = ids.offsets + np.concatenate([[0], np.cumsum(present)]) * len(between)

    def inserted(part: Ragged, values: Sequence[int]) -> Ragged:
        return Ragged(np.insert(part.values, places, np.tile(values, int(present.sum()))), offsets)

    size = len(between)
    ids, roles, fields = inserted(ids, between), inserted(roles, [PROMPT] * size), inserted(fields, [-1] * size)
    return replace(encoded, ids=ids, roles=roles, fields=fields)


def check_separators(
    encoded: EncodedRows, literals: Sequence[Sequence[int]], outputs: Sequence[OutputFeature], table: pd.DataFrame
) -> None:
    """Refuse free text that holds the token at which it would end: the first one of what stands before the next output.

    Args:
        encoded: The rows of ``table``.
        literals: Tokens before each output.
        outputs: In the order of the answer.
        table: Where the answers come from.

    Raises:
        DataError: With the first such row, how many there are, and what to write instead.
    """
    import numpy as np

    for place, (output, literal) in enumerate(zip(outputs[:-1], literals[1:], strict=True)):
        found = np.flatnonzero((encoded.fields.values == place) & (encoded.ids.values == literal[0]))
        rows = np.unique(np.searchsorted(encoded.fields.offsets, found, side="right") - 1)
        if output.is_free and len(rows):
            row, name = int(rows[0]), output.config.source
            raise DataError(
                f"{cell_text(table[name].iloc[row])[:60]!r} holds what separates it from the output "
                f"{outputs[place + 1].name!r} ({len(rows)} of {len(table)} rows do), so it could not be written to its "
                "end; write prompt.answer with another separator, or make it the last output",
                column=name,
                row=table.index[row],
            )
