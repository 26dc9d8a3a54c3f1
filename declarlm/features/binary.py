"""Binary features: one of two values per row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import DataError, Problem, Section, param
from declarlm.decoders.base import Decoder, decoders
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import (
    AS_IT_IS,
    FILLED,
    Feature,
    InputFeature,
    Raw,
    input_features,
    output_features,
    quote,
)
from declarlm.features.cells import Form, as_texts, by_frequency, form_of
from declarlm.features.labels import NEEDS_SCORES, LabelOutput, LabelState, is_matched
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


TRUE = frozenset({"true", "yes", "t", "y", "on", "1", "1.0"})
FALSE = frozenset({"false", "no", "f", "n", "off", "0", "0.0"})


class BinaryPreprocessing(Section):
    """How the cells of a binary column are read."""

    fallback_true_label: str | None = param(
        "Value that counts as true; null means true, yes, t, y, on or 1 in any case, and of two other values the one"
        " that sorts last.",
        default=None,
    )


class BinaryInputPreprocessing(BinaryPreprocessing):
    """How the cells of a binary input are read."""

    missing_value_strategy: Literal[
        "fill_with_false", "fill_with_true", "fill_with_const", "fill_with_mode", "bfill", "ffill", "drop_row", "error"
    ] = param("What stands for a missing cell.", default="fill_with_false")
    fill_value: bool = param("Value that stands for a missing cell under fill_with_const.", default=False)


class BinaryOutputPreprocessing(BinaryPreprocessing):
    """How the cells of a binary output are read."""

    missing_value_strategy: Literal[
        "error", "drop_row", "fill_with_false", "fill_with_true", "fill_with_const", "fill_with_mode", "bfill", "ffill"
    ] = param("What is done about a row without a label.", default="error")
    fill_value: bool = param("Label of a row without one under fill_with_const.", default=False)
    fallback_label: str | None = param("Label, of the two, for an answer that shows none.", default=None)


class BinaryState(Section):
    """What is learned from a binary column."""

    labels: list[str] = param("The usual spelling of false and of true, as text.")
    spellings: dict[str, bool] = param("What each text in the training rows counts as.")
    fill: bool | None = param("Value of a missing cell.", default=None)


class _Binary(Feature):
    """What both binary features have in common."""

    def read(self, column: pd.Series) -> pd.Series:
        """Return true and false, missing cells as None, ``object (rows,)``."""
        texts = as_texts(column)
        spellings = self.state.spellings
        unknown = texts.notna() & ~texts.isin(list(spellings))
        if unknown.any():
            row = int(unknown.to_numpy().argmax())
            known = " nor ".join(map(quote, self.state.labels))
            raise DataError(
                f"{texts.iloc[row]!r} is neither {known}; a column of more than two values is of type category",
                column=self.config.source,
                row=column.index[row],
            )
        return texts.map(spellings, na_action="ignore")

    def _learn(self, column: pd.Series) -> dict[str, Any]:
        counts = by_frequency(as_texts(column))
        spellings = self._spellings(list(counts))
        labels = [next((text for text in counts if spellings[text] is side), "") for side in (False, True)]
        return {"labels": labels, "spellings": spellings}

    def _spellings(self, texts: list[str]) -> dict[str, bool]:
        """Return what each text counts as.

        Raises:
            DataError: If there are more than two values, or the value that should count as true is none of them.
        """
        true = self.config.preprocessing.fallback_true_label
        if true is None and all(text.strip().lower() in TRUE | FALSE for text in texts):
            return {text: text.strip().lower() in TRUE for text in texts}
        if len(texts) > 2:
            some = ", ".join(map(quote, texts[:4])) + ", ..." * (len(texts) > 4)
            raise DataError(
                f"has {len(texts):,} values ({some}); a binary column has two: write type: category",
                column=self.config.source,
            )
        if true is not None and texts and true not in texts:
            found = " and ".join(map(quote, texts))
            raise DataError(
                f"has no value {quote(true)} (preprocessing.fallback_true_label); it holds {found}",
                column=self.config.source,
            )
        positive = max(texts, default="") if true is None else true
        return {text: text == positive for text in texts}

    def _fill(self, column: pd.Series) -> bool | None:
        """Return what a missing cell counts as; ``state`` must know the spellings."""
        fill = self.unlearned_fill()
        fill = self.learn_fill(self.read(column)) if fill is None else fill
        return None if fill is None else bool(fill)

    def unlearned_fill(self) -> Any:
        strategy = self.config.preprocessing.missing_value_strategy
        named = {"fill_with_false": False, "fill_with_true": True}
        return named.get(strategy, super().unlearned_fill())


@input_features.register("binary")
class BinaryInput(_Binary, InputFeature):
    """One of two values, such as yes and no.

    For an encoder: 0 or 1, ``float32 (rows, 1)``.
    """

    emits = "number"
    without_effect: ClassVar[Any] = {
        "llm": {"fallback_true_label": AS_IT_IS, "fill_value": AS_IT_IS, "missing_value_strategy": FILLED},
    }
    default_encoder = "passthrough"

    class Config(InputFeature.Config):
        preprocessing: BinaryInputPreprocessing = param("How cells are read.", default=BinaryInputPreprocessing())
        encoder: Encoder.Config | None = param(
            "How 0 and 1 become vectors (ecd), passthrough if null.",
            default=None,
            registry=encoders.where(accepts="number"),
        )

    class State(BinaryState):
        pass

    def fit(self, column: pd.Series) -> Self:
        self.state = self.State(**self._learn(column))
        self.state = self.state.replace(fill=self._fill(column))
        return self

    def transform(self, column: pd.Series) -> np.ndarray[Any, Any]:
        import numpy as np

        return self.fill(self.read(column)).to_numpy(dtype=np.float32)[:, None]


@output_features.register("binary")
class BinaryOutput(_Binary, LabelOutput):
    """One of two labels, such as spam and ham.

    The positive label is ``labels[1]``, see ``preprocessing.fallback_true_label``. Prediction columns:
    ``<name>_predictions`` (as the column holds them: text, bool, int or float), ``<name>_probability``,
    ``<name>_probabilities`` and one ``<name>_probabilities_<label>`` each.
    """

    default_decoders: ClassVar[dict[str, str]] = {"ecd": "regressor", "llm": "category_extractor"}
    default_loss = "binary_weighted_cross_entropy"
    without_effect: ClassVar[Any] = {"ecd": {"fallback_label": ("leave it out, a head always gives a label", ())}}

    class Config(LabelOutput.Config):
        preprocessing: BinaryOutputPreprocessing = param("How cells are read.", default=BinaryOutputPreprocessing())
        decoder: Decoder.Config | None = param(
            "How a label is predicted; null means regressor (ecd) or category_extractor (llm).",
            default=None,
            registry=decoders.where(accepts="binary"),
        )
        loss: Loss.Config | None = param(
            "What is minimized, binary_weighted_cross_entropy if null.",
            default=None,
            registry=losses.where(accepts="binary"),
        )
        threshold: float | Literal["auto"] = param(
            "Probability of the positive label from which on it is predicted; auto is the one that is best on the"
            " validation rows after training, by the first of metrics among accuracy, f1 and f1_macro, else by f1.",
            default=0.5,
            min=0,
            max=1,
        )

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if self.threshold == "auto" and is_matched(self):
                yield Problem("threshold", f"{NEEDS_SCORES}; write a number, or match each label by type: contains")
            if getattr(self.decoder, "clip", None) is not None:
                yield Problem("decoder.clip", "is for number outputs; a probability is always between 0 and 1")

    class State(BinaryState, LabelState):
        counts: list[int] = param("How many training rows are false, and how many true.")
        threshold: float | None = param("Probability from which on the positive label is predicted.", default=None)
        form: Literal["text", "bool", "int", "float"] = param("Kind of value that the column holds.", default="text")

    @property
    def num_scores(self) -> int:
        return 1

    def fit(self, column: pd.Series) -> Self:
        """Learn the labels from the training rows.

        Raises:
            DataError: If the column has more or fewer than two labels.
        """
        form: Form = form_of(column)
        self.state = self.State(**self._learn(column), counts=[0, 0], form=form)
        fill = self._fill(column)
        values = self.read(column)
        values = values if fill is None else values.fillna(fill)
        counts = [int((values == side).sum()) for side in (False, True)]
        if min(counts) == 0:
            found = f"only one label, {max(self.state.labels)!r}" if max(counts) else "no label"
            raise DataError(f"has {found} in {len(column)} training rows; two are needed", column=self.config.source)
        self.state = self.state.replace(counts=counts, fill=fill)
        return self

    def without_rows(self) -> Self:
        labels = list(getattr(self.config.decoder, "match", {}))
        if len(labels) != 2:
            raise DataError(
                "has no labels to choose from: write decoder.match for its two labels, or train on a table",
                column=self.config.source,
            )
        spellings = self._spellings(labels)
        ordered = sorted(labels, key=spellings.__getitem__)
        self.state = self.State(labels=ordered, spellings=spellings, counts=[0, 0], fill=self.unlearned_fill())
        return self.untuned()

    @property
    def is_tuned(self) -> bool:
        return super().is_tuned or self.config.threshold == "auto"

    def targets(self, column: pd.Series) -> np.ndarray[Any, Any]:
        import numpy as np

        return self.fill(self.read(column)).to_numpy(dtype=np.int64)

    def truth(self, column: pd.Series) -> list[str]:
        return [self.state.labels[index] for index in self.targets(column)]

    def raw(self, scores: np.ndarray[Any, Any]) -> Raw:
        import numpy as np

        positive = 0.5 * (1.0 + np.tanh(0.5 * scores[:, 0].astype(np.float64)))  # A sigmoid that cannot overflow.
        return Raw(probabilities=np.stack([1.0 - positive, positive], axis=1))

    def most_likely(self, probabilities: np.ndarray[Any, Any]) -> list[int]:
        threshold = self.config.threshold
        if threshold == "auto":
            threshold = 0.5 if self.state.threshold is None else self.state.threshold  # None while it still trains.
        return [int(share >= threshold) for share in probabilities[:, 1].tolist()]
