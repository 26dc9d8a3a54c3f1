"""Category features: one of a limited set of values per row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import DataError, Problem, Section, param
from declarlm.decoders.base import Decoder, decoders, softmax
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import InputFeature, Raw, input_features, output_features
from declarlm.features.cells import Form, as_texts, by_frequency, form_of, in_form
from declarlm.features.labels import LabelOutput, LabelState
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


UNKNOWN = "<UNK>"


class CategoryInputPreprocessing(Section):
    """How the cells of a category input are read."""

    missing_value_strategy: Literal["fill_with_const", "fill_with_mode", "bfill", "ffill", "drop_row", "error"] = param(
        "What stands for a missing cell.", default="fill_with_const"
    )
    fill_value: str = param("Value that stands for a missing cell under fill_with_const.", default=UNKNOWN)
    lowercase: bool = param("Write every cell in lower case.", default=False)
    most_common: int = param("Values to keep, the most frequent; rarer ones become unknown.", default=10_000, min=1)


@input_features.register("category")
class CategoryInput(InputFeature):
    """One of a limited set of values, such as a country or a plan.

    For an encoder: ids, ``int64 (rows,)``; 0 stands for values not seen in training, and for missing ones.
    """

    emits = "category"
    default_encoder = "dense"
    without_effect: ClassVar[Any] = {"llm": {"most_common": ("leave it out, every value is written as it is", ())}}

    class Config(InputFeature.Config):
        preprocessing: CategoryInputPreprocessing = param("How cells are read.", default=CategoryInputPreprocessing())
        encoder: Encoder.Config | None = param(
            "How ids become vectors (ecd), dense if null.", default=None, registry=encoders.where(accepts="category")
        )

    class State(InputFeature.State):
        vocabulary: list[str] = param("The value of each id.")
        fill: str | None = param("Value that stands for a missing cell.", default=None)

    def fit(self, column: pd.Series) -> Self:
        values = self.read(column)
        fill = self.learn_fill(values)
        counts = by_frequency(values if fill is None else values.fillna(fill))
        counts.pop(UNKNOWN, None)
        kept = list(counts)[: self.config.preprocessing.most_common]
        self.state = self.State(vocabulary=[UNKNOWN, *kept], fill=fill)
        return self

    def read(self, column: pd.Series) -> pd.Series:
        texts = as_texts(column)
        return texts.map(str.lower, na_action="ignore") if self.config.preprocessing.lowercase else texts

    def without_rows(self) -> Self:
        preprocessing = self.config.preprocessing
        if preprocessing.missing_value_strategy == "fill_with_mode":
            raise DataError("fill_with_mode needs training rows; write fill_with_const", column=self.config.source)
        self.state = self.State(vocabulary=[UNKNOWN], fill=preprocessing.fill_value)
        return self

    def render(self, column: pd.Series) -> list[str]:
        """Return the cells as a prompt has them; a missing one is empty unless the config says what stands for it."""
        values, preprocessing = self.read(column), self.config.preprocessing
        chosen = (preprocessing.missing_value_strategy, preprocessing.fill_value) != ("fill_with_const", UNKNOWN)
        filled = chosen and preprocessing.missing_value_strategy not in ("drop_row", "error")
        return super().render(self.fill(values) if filled else values)

    def transform(self, column: pd.Series) -> np.ndarray[Any, Any]:
        import numpy as np

        ids = {value: index for index, value in enumerate(self.state.vocabulary)}
        return np.array([ids.get(value, 0) for value in self.fill(self.read(column))], dtype=np.int64)


class CategoryOutputPreprocessing(Section):
    """How the cells of a category output are read."""

    missing_value_strategy: Literal["error", "drop_row", "fill_with_const", "fill_with_mode", "bfill", "ffill"] = param(
        "What is done about a row without a label.", default="error"
    )
    fill_value: str | None = param("Label of a row without one under fill_with_const.", default=None)
    lowercase: bool = param("Write every label in lower case.", default=False)
    most_common: int = param(
        "Labels to keep, the most frequent; the others become fallback_label.", default=10_000, min=2
    )
    fallback_label: str | None = param(
        "Label that stands for rare ones, for labels unseen in training, and for answers that show none.", default=None
    )
    labels: list[str] | None = param("Labels that can be predicted even if no training row has them.", default=None)

    def check(self) -> Iterable[Problem]:
        if self.missing_value_strategy == "fill_with_const" and self.fill_value is None:
            yield Problem("fill_value", "is required for missing_value_strategy: fill_with_const")


@output_features.register("category")
class CategoryOutput(LabelOutput):
    """One of a limited set of labels, such as an intent or a topic.

    Labels are texts; they stand in the order of their frequency in the training rows, then of their names.
    Prediction columns: ``<name>_predictions`` (as the column holds them: text, int, float or bool),
    ``<name>_probability``, ``<name>_probabilities`` and one ``<name>_probabilities_<label>`` each.
    """

    default_decoders: ClassVar[dict[str, str]] = {"ecd": "classifier", "llm": "category_extractor"}
    default_loss = "softmax_cross_entropy"

    class Config(LabelOutput.Config):
        preprocessing: CategoryOutputPreprocessing = param("How cells are read.", default=CategoryOutputPreprocessing())
        decoder: Decoder.Config | None = param(
            "How a label is predicted; null means classifier (ecd) or category_extractor (llm).",
            default=None,
            registry=decoders.where(accepts="category"),
        )
        loss: Loss.Config | None = param(
            "What is minimized, softmax_cross_entropy if null.", default=None, registry=losses.where(accepts="category")
        )

    class State(LabelState):
        labels: list[str] = param("Every label, as text, in the order of scores and probabilities.")
        counts: list[int] = param("How many training rows have each label.")
        form: Literal["text", "bool", "int", "float"] = param("Kind of value that the column holds.", default="text")
        fill: str | None = param("Label of a row without one.", default=None)

    def fit(self, column: pd.Series) -> Self:
        """Learn the labels from the training rows.

        Raises:
            DataError: If there are fewer than two labels, or more than ``most_common`` and no ``fallback_label``.
        """
        values = self.read(column)
        fill = self.learn_fill(values)
        counts = by_frequency(values if fill is None else values.fillna(fill))
        labels = self._labels(counts)
        if len(labels) < 2:
            found = f"only one label, {labels[0]!r}" if labels else "no label"
            raise DataError(f"has {found} in {len(column)} training rows; two are needed", column=self.config.source)
        kept = dict.fromkeys(labels, 0)
        for label, count in counts.items():
            kept[label if label in kept else str(self.config.preprocessing.fallback_label)] += count
        form = form_of(column)
        if any(not _fits(label, form) for label in labels):
            form = "text"  # A label that only the config names is not of the column's kind.
        self.state = self.State(labels=labels, counts=list(kept.values()), form=form, fill=fill)
        return self

    def without_rows(self) -> Self:
        labels = self._labels({})
        if len(labels) < 2:
            raise DataError(
                "has no labels to choose from: write preprocessing.labels or decoder.match, or train on a table",
                column=self.config.source,
            )
        self.state = self.State(labels=labels, counts=[0] * len(labels), fill=self.unlearned_fill())
        return self.untuned()

    def _labels(self, counts: dict[str, int]) -> list[str]:
        """Return the labels found and those that the config names, the rare ones left out."""
        preprocessing = self.config.preprocessing
        named = [*(preprocessing.labels or []), *getattr(self.config.decoder, "match", {})]
        labels = list(dict.fromkeys([*counts, *named]))
        fallback = preprocessing.fallback_label
        if len(labels) > preprocessing.most_common and fallback is None:
            raise DataError(
                f"has {len(labels):,} different labels, more than preprocessing.most_common "
                f"({preprocessing.most_common:,}); raise it, or write preprocessing.fallback_label for the rare ones",
                column=self.config.source,
            )
        room = max(preprocessing.most_common - len(set(named)), 0)
        common = [label for label in counts if label not in named][:room]
        labels = [label for label in labels if label in named or label in common]
        return labels if fallback is None or fallback in labels else [*labels, fallback]

    def read(self, column: pd.Series) -> pd.Series:
        texts = as_texts(column)
        return texts.map(str.lower, na_action="ignore") if self.config.preprocessing.lowercase else texts

    def truth(self, column: pd.Series) -> list[str]:
        fallback, known = self.config.preprocessing.fallback_label, set(self.state.labels)
        values = list(self.fill(self.read(column)))
        return values if fallback is None else [label if label in known else fallback for label in values]

    def targets(self, column: pd.Series) -> np.ndarray[Any, Any]:
        import numpy as np

        ids = {label: index for index, label in enumerate(self.state.labels)}
        return np.array([ids.get(label, -1) for label in self.truth(column)], dtype=np.int64)

    def raw(self, scores: np.ndarray[Any, Any]) -> Raw:
        return Raw(probabilities=softmax(scores))

    def most_likely(self, probabilities: np.ndarray[Any, Any]) -> list[int]:
        chosen: list[int] = probabilities.argmax(axis=1).tolist()
        return chosen


def _fits(label: str, form: Form) -> bool:
    try:
        return in_form(label, form) is not None and (form != "bool" or label in ("True", "False"))
    except ValueError:
        return False
