"""Sequence features: one tag for each word of a text."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import DataError, Section, param
from declarlm.core.ragged import Ragged
from declarlm.decoders.base import Decoder, decoders, softmax
from declarlm.features.base import OutputFeature, Raw, output_features
from declarlm.features.lists import as_lists
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.metrics import Prediction

OUTSIDE = "O"
_IOB2 = re.compile(r"[BI]-.+", re.DOTALL)


class SequenceOutputPreprocessing(Section):
    """How the cells of a sequence output are read."""

    missing_value_strategy: Literal["error", "drop_row"] = param(
        "What is done about a row without tags.", default="error"
    )


@output_features.register("sequence")
class SequenceOutput(OutputFeature):
    """One tag for each word of a text, such as the entities or slots in it.

    A cell is a list of tags, a JSON list, or tags between white space, as many as the text has words: those that
    white space separates, or the elements of a cell that is a list. Prediction columns: ``<name>_predictions`` and
    ``<name>_probabilities``, a list each, as long as the text has words. A word that the encoder has not read, as it
    lies beyond ``max_sequence_length``, is tagged ``O`` and has no probability.
    """

    default_decoders: ClassVar[dict[str, str]] = {"ecd": "tagger"}
    default_loss = "softmax_cross_entropy"
    per_word = True

    class Config(OutputFeature.Config):
        of: str | None = param("Name of the input whose words are tagged; null if only one has words.", default=None)
        preprocessing: SequenceOutputPreprocessing = param("How cells are read.", default=SequenceOutputPreprocessing())
        decoder: Decoder.Config | None = param(
            "How the tags are predicted, tagger if null.", default=None, registry=decoders.where(accepts="sequence")
        )
        loss: Loss.Config | None = param(
            "What is minimized, softmax_cross_entropy of each word if null.",
            default=None,
            registry=losses.where(accepts="sequence"),
        )

    class State(OutputFeature.State):
        labels: list[str] = param("Every tag, in the order of scores.")
        counts: list[int] = param("How many words of the training rows have each tag.")
        fill: str | None = param("Null: nothing stands for missing tags.", default=None)

    @property
    def labels(self) -> list[str]:
        return list(self.state.labels)

    @property
    def is_iob2(self) -> bool:
        """Whether all tags are ``O``, ``B-kind`` and ``I-kind``, and every kind has its ``B-``."""
        inside = [label for label in self.labels if label != OUTSIDE]
        known = set(inside)
        return bool(inside) and all(_IOB2.fullmatch(label) and f"B{label[1:]}" in known for label in inside)

    def fit(self, column: pd.Series) -> Self:
        """Learn the tags from the training rows.

        Raises:
            DataError: If there are fewer than two.
        """
        counts = Counter(tag for tags in self.read(column).dropna() for tag in tags)
        labels = sorted(counts, key=lambda tag: (-counts[tag], tag))
        if len(labels) < 2:
            found = f"only one tag, {labels[0]!r}," if labels else "no tag"
            raise DataError(f"has {found} in {len(column)} training rows; two are needed", column=self.config.source)
        self.state = self.State(labels=labels, counts=[counts[label] for label in labels])
        return self

    def read(self, column: pd.Series) -> pd.Series:
        return as_lists(column)

    def fill(self, values: pd.Series) -> pd.Series:
        self.check_missing(values)
        return values

    def truth(self, column: pd.Series) -> list[list[str]]:
        return list(self.fill(self.read(column)))

    def targets(self, column: pd.Series) -> Ragged:
        """Return the number of each word's tag, ``int64``; a tag unseen in training is -1."""
        ids = {label: index for index, label in enumerate(self.state.labels)}
        return Ragged.from_rows([[ids.get(tag, -1) for tag in tags] for tags in self.truth(column)], dtype="int64")

    def check_words(self, column: pd.Series, words: str, num_words: list[int]) -> None:
        """Refuse a row that has not one tag for each word.

        Raises:
            DataError: With the row and both numbers.
        """
        for tags, number, row in zip(self.truth(column), num_words, column.index, strict=True):
            if len(tags) != number:
                raise DataError(
                    f"has {len(tags)} tags, but {words!r} has {number} words; there must be one for each: give both "
                    "as lists, or separate both by white space",
                    column=self.config.source,
                    row=row,
                )

    def raw(self, scores: Any) -> Raw:
        """Return the meaning of scores, one ``float (words, tags)`` a row, NaN for a word that was not read."""
        return Raw(words=[softmax(row) if len(row) else row for row in scores])

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        shares = [
            [None if share != share else share for share in row.max(axis=1, initial=0).tolist()]
            for row in raw.words or []
        ]
        return {f"{self.name}_predictions": self._tags(raw), f"{self.name}_probabilities": shares}

    def metric_prediction(self, raw: Raw) -> Prediction:
        from declarlm.metrics import Prediction

        return Prediction(values=self._tags(raw), labels=self.labels)

    def _tags(self, raw: Raw) -> list[list[str]]:
        labels, decoder = self.labels, self.make_decoder("ecd").config
        found = [
            [OUTSIDE if word[0] != word[0] else labels[int(word.argmax())] for word in row] for row in raw.words or []
        ]
        return [repaired(tags) for tags in found] if decoder.repair and self.is_iob2 else found


def repaired(tags: list[str]) -> list[str]:
    """Return IOB2 tags in which every entity starts with ``B-``: an ``I-`` that continues none becomes one.

    >>> repaired(["O", "I-LOC", "I-LOC", "I-PER"])
    ['O', 'B-LOC', 'I-LOC', 'B-PER']
    """
    before = [OUTSIDE, *tags]
    return [
        f"B{tag[1:]}" if tag.startswith("I-") and last[1:] != tag[1:] else tag
        for last, tag in zip(before, tags, strict=False)
    ]
