"""Encoder of texts by the words that are rare elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from declarlm.core import param
from declarlm.encoders.base import Encoder, encoders

if TYPE_CHECKING:
    import torch
    from torch import nn


@encoders.register("tf_idf")
class TfIdfEncoder(Encoder):
    """Weigh the terms of a text (words, pairs of words, pieces of words) by how rare they are, and sum their vectors.

    A term weighs ``(1 + ln(times in the text)) * (1 + ln((1 + texts) / (1 + texts with it)))``, and each row's
    weights have length 1, as in scikit-learn. Input: texts. Output: ``float32 (batch, output_size)``.
    """

    accepts = frozenset({"text"})
    learning_rate = 1e-2

    class Config(Encoder.Config):
        ngram_size: int = param("Longest run of words that is a term.", default=2, min=1, max=5)
        character_ngram_size: int = param(
            "Longest run of characters within a word that is a term, from 2 on; 0 for none.", default=5, min=0, max=8
        )
        most_common: int = param("Terms of each kind to keep, the most frequent.", default=20_000, min=1)
        lowercase: bool = param("Whether terms that differ in case alone are the same.", default=True)
        output_size: int = param("Length of the vector of a term.", default=64, min=1)
        dropout: float = param("Probability of zeroing a value in training.", default=0.0, min=0, below=1)

    class State(Encoder.State):
        words: dict[str, float] = param("Rarity of each term of words.")
        characters: dict[str, float] = param("Rarity of each term of characters.", default={})

    def fit(self, values: list[str]) -> Self:
        learned: dict[str, dict[str, float]] = {}
        for kind in self._kinds():
            vectorizer = self._vectorizer(kind)
            try:
                vectorizer.fit(values)
            except ValueError:  # No text holds a term.
                learned[kind] = {}
                continue
            terms = vectorizer.get_feature_names_out().tolist()
            learned[kind] = dict(zip(terms, vectorizer.idf_.tolist(), strict=True))
        self.state = self.State(**learned)
        return self

    def _kinds(self) -> list[str]:
        return ["words", "characters"] if self.config.character_ngram_size >= 2 else ["words"]

    def _vectorizer(self, kind: str, **learned: Any) -> Any:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        config = self.config
        by_word = kind == "words"
        return TfidfVectorizer(
            analyzer="word" if by_word else "char_wb",
            ngram_range=(1, config.ngram_size) if by_word else (2, config.character_ngram_size),
            token_pattern=r"\w+|[^\w\s]" if by_word else None,
            lowercase=config.lowercase,
            max_features=None if learned else config.most_common,
            sublinear_tf=True,
            dtype=np.float32,
            **learned,
        )

    def transform(self, values: list[str]) -> Any:
        """Return a sparse matrix, ``float32 (rows, terms)``."""
        import numpy as np
        from scipy.sparse import csr_matrix, hstack

        blocks = []
        for kind in self._kinds():
            rarities: dict[str, float] = getattr(self.state, kind)
            if not rarities:
                continue
            vectorizer = self._vectorizer(kind, vocabulary=list(rarities))
            vectorizer.idf_ = np.array(list(rarities.values()))
            blocks.append(vectorizer.transform(values))
        return hstack(blocks, format="csr") if blocks else csr_matrix((len(values), 1), dtype="float32")

    def collate(self, rows: Any) -> dict[str, torch.Tensor]:
        import numpy as np
        import torch

        return {
            "ids": torch.from_numpy(rows.indices.astype(np.int64)),
            "offsets": torch.from_numpy(rows.indptr[:-1].astype(np.int64)),
            "weights": torch.from_numpy(rows.data.astype(np.float32)),
        }

    def costs(self, rows: Any) -> Any:
        import numpy as np

        return np.ones(rows.shape[0], dtype=np.int64)

    def build(self) -> nn.Module:
        from declarlm.layers.words import WeightedTerms

        num_terms = max(1, sum(len(getattr(self.state, kind)) for kind in self._kinds()))
        return WeightedTerms(num_terms, self.config.output_size, self.config.dropout)
