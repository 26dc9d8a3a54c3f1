"""What encoders that learn their words from the training rows have in common."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

from declarlm.core import param
from declarlm.core.ragged import Ragged
from declarlm.encoders.base import Encoder
from declarlm.encoders.tokens import padded

if TYPE_CHECKING:
    import torch

UNKNOWN = 0
_WORD = re.compile(r"\w+|[^\w\s]")


class WordEncoder(Encoder):
    """Cut texts into words and punctuation marks and give each a trained vector; rare words share one.

    A row is the ids of its words, ``int32 (words,)``; id 0 is the unknown word, which also stands for no words.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"text"})
    has_tokens = True

    class Config(Encoder.Config):
        embedding_size: int = param("Length of the vector of a word.", default=256, min=1)
        most_common: int = param("Words to keep, the most frequent; the others are unknown.", default=20_000, min=1)
        lowercase: bool = param("Whether words that differ in case alone are the same.", default=True)
        max_sequence_length: int | None = param("Words of a text that are kept; null is 256.", default=None, min=1)
        dropout: float = param("Probability of zeroing a value in training.", default=0.1, min=0, below=1)

    class State(Encoder.State):
        words: list[str] = param("The word of each id from 1 on.")

    @property
    def max_length(self) -> int:
        """Most words of a text that are kept."""
        return self.config.max_sequence_length or 256

    def fit(self, values: list[str]) -> Self:
        counts = Counter(word for text in values for word in self._words(text))
        # A word that occurs once trains its vector on one row, which tells more of the row than of the word.
        frequent = sorted((-count, word) for word, count in counts.items() if count > 1)
        self.state = self.State(words=[word for _, word in frequent[: self.config.most_common]])
        return self

    def transform(self, values: list[str]) -> Ragged:
        ids = {word: index for index, word in enumerate(self.state.words, start=1)}
        return Ragged.from_rows(
            [[ids.get(word, UNKNOWN) for word in self._words(text)] or [UNKNOWN] for text in values]
        )

    def token_spans(self, values: list[str]) -> list[Any]:
        import numpy as np

        spans = [[word.span() for word in islice(_WORD.finditer(text), self.max_length)] for text in values]
        return [np.array(row or [(0, 0)], dtype=np.int64) for row in spans]

    def _words(self, text: str) -> list[str]:
        return _WORD.findall(text.lower() if self.config.lowercase else text)[: self.max_length]

    def collate(self, rows: Ragged) -> dict[str, torch.Tensor]:
        return padded(rows, UNKNOWN)

    def costs(self, rows: Ragged) -> Any:
        return rows.lengths
