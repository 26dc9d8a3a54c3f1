"""Rows with two answers each, as a language model compares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.data.token_store import cached_tokens
from declarlm.models.causal import collate
from declarlm.models.llm_rows import CHUNK_ROWS, LlmRows
from declarlm.prompts import PROMPT, EncodedRows
from declarlm.prompts.beside import encode_beside

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from declarlm.data.token_store import TokenStore
    from declarlm.layers.causal_model import CausalModel
    from declarlm.models.prompted import Prompted


class PairRows:
    """Rows of a table, each with two answers to the same prompt.

    Attributes:
        tokens: Two rows of tokens for each row of the table: the first answer, then the second.
        kept: The rows of the table that fit, ``(rows,)``.
        costs: Tokens that a row costs, with both answers as long as the longer one, ``(rows,)``.
        num_answered: Tokens of both answers that are scored, ``(rows, 2)``.
        lengths: Tokens of prompt and answer, for both answers, ``(rows, 2)``.
        good: Whether the first answer is one to be given, ``bool (rows,)``.
        reference: Log-probability of both answers before training, ``float64 (rows, 2)``; empty until it is known.
    """

    def __init__(self, tokens: TokenStore | EncodedRows) -> None:
        import numpy as np

        self.tokens = tokens
        lengths = tokens.ids.lengths.reshape(-1, 2)
        self.kept = np.flatnonzero(lengths.max(axis=1, initial=0))
        self.lengths = lengths[self.kept]
        self.costs: np.ndarray[Any, Any] = 2 * self.lengths.max(axis=1, initial=0)
        self.good = np.ones(len(self.kept), dtype=bool)
        self._single = LlmRows(tokens)
        self.num_answered = self._single.supervised.reshape(-1, 2)[self.kept]
        self.reference: np.ndarray[Any, Any] = np.zeros((0, 2))

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def num_cut(self) -> int:
        """Number of rows that lost text of their prompt or the end of an answer."""
        return int((self.tokens.num_cut.reshape(-1, 2) > 0).any(axis=1).sum())

    def single(self) -> LlmRows:
        """Return each answer as a row of its own, without those that were dropped."""
        if 2 * len(self) == len(self.tokens):
            return self._single
        places = self._places(range(len(self)))
        ids, roles, fields = (part.take(places) for part in (self.tokens.ids, self.tokens.roles, self.tokens.fields))
        num_cut, left_out = self.tokens.num_cut[places], self.tokens.num_left_out[places]
        kept = EncodedRows(ids, roles, fields, num_cut=num_cut, num_left_out=left_out, dropped=num_cut < 0)
        return LlmRows(kept)

    def prompts(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> list[bytes]:
        """Return the tokens of the prompts of rows, to tell which are the same."""
        tokens, places = self.tokens, self._places(rows, (0,))
        return [tokens.ids[place][tokens.roles[place] == PROMPT].tobytes() for place in places.tolist()]

    def log_probs(
        self, module: CausalModel, rows: Sequence[int] | np.ndarray[Any, Any], which: Sequence[int] = (0, 1)
    ) -> Tensor:
        """Return the log-probability that a module gives to answers, summed over their tokens, ``(rows, which)``.

        Args:
            module: The language model.
            rows: Which rows.
            which: 0 for the first answer, 1 for the second.
        """
        places = self._places(rows, which)
        batch = collate(module, self.tokens.ids.take(places), self.tokens.roles.take(places))
        return batch.by_row(module(batch)).view(-1, len(which))

    def _places(self, rows: Any, which: Sequence[int] = (0, 1)) -> np.ndarray[Any, Any]:
        import numpy as np

        places: np.ndarray[Any, Any] = (2 * self.kept[np.asarray(rows)][:, None] + np.array(which)).flatten()
        return places


def encode_pairs(
    model: Prompted, table: pd.DataFrame, first: Sequence[str], second: Sequence[str], *, also: Any = None
) -> PairRows:
    """Return the rows of ``table`` with two answers each to the model's one output.

    They are made once and then found by their content. ``also`` is what the answers depend on beside the columns
    that the model reads.

    Raises:
        DataError: If a row is too long and ``preprocessing.overlong`` is error, or none fits.
    """

    def encode(start: int) -> EncodedRows:
        chunk = slice(start, start + CHUNK_ROWS)
        return encode_beside(
            model.encoder,
            model.cells(table.iloc[chunk]),
            [[[text] for text in texts[chunk]] for texts in (first, second)],
            row_labels=list(table.index[chunk]),
            overlong=model.sections.overlong,
        )

    key = model.cache_key(table, "pairs", also)
    rows = PairRows(cached_tokens(key, lambda: map(encode, range(0, len(table), CHUNK_ROWS))))
    if len(table) and not len(rows):
        raise DataError(
            f"none of {len(table)} rows fits into {model.max_length} tokens, and all were dropped; shorten prompt or "
            "answers, or write preprocessing.overlong: cut"
        )
    return rows
