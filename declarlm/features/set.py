"""Set features: any number of labels a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import DataError, Section, param
from declarlm.core.ragged import Ragged
from declarlm.decoders.base import Decoder, decoders
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import Feature, InputFeature, OutputFeature, Raw, input_features, output_features
from declarlm.features.lists import as_lists
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.metrics import Prediction

_SEPARATORS = ("|", ";", ",")


class _Set(Feature):
    """What both sides of the feature have in common: cells that hold labels."""

    class State(Feature.State):
        labels: list[str] = param("Every label, in the order of scores: the most frequent first, then by name.")
        counts: list[int] = param("How many training rows have each label.")
        separator: str | None = param("What stands between the labels of a text; null is white space.", default=None)
        fill: list[str] | None = param("Labels that stand for a missing cell.", default=None)

    def fit(self, column: pd.Series) -> Self:
        """Learn the labels from the training rows, and what separates those of a text.

        Raises:
            DataError: If there is none.
        """
        preprocessing = self.config.preprocessing
        separator = preprocessing.separator or _separator_of(column)
        self.state = self.State(labels=[], counts=[], separator=separator)
        counts = Counter(label for labels in self.read(column).dropna() for label in labels)
        if not counts:
            raise DataError(f"has no label in {len(column)} training rows", column=self.config.source)
        known = sorted(counts, key=lambda label: (-counts[label], label))[: preprocessing.most_common]
        fill: list[str] | None = None if preprocessing.missing_value_strategy in ("error", "drop_row") else []
        self.state = self.State(labels=known, counts=[counts[label] for label in known], separator=separator, fill=fill)
        return self

    def read(self, column: pd.Series) -> pd.Series:
        separator = self.state.separator
        lower = str.lower if self.config.preprocessing.lowercase else str

        def cut(text: str) -> Sequence[str]:
            return [part.strip() for part in text.split(separator)]

        # Each label once, in the order in which it first stands there.
        return as_lists(column, cut).map(
            lambda parts: list(dict.fromkeys(lower(part) for part in parts if part)), na_action="ignore"
        )

    def fill(self, values: pd.Series) -> pd.Series:
        self.check_missing(values)
        missing = values.isna()
        return values.where(~missing, missing.map(lambda _: [])) if missing.any() else values

    def labels_of(self, column: pd.Series) -> list[list[str]]:
        """Return the labels of each row, unknown ones too."""
        return list(self.fill(self.read(column)))


def _separator_of(column: pd.Series) -> str | None:
    """Return what separates the labels in texts: the first of ``|``, ``;`` and ``,`` that occurs, or white space."""
    texts = [cell for cell in column.dropna().tolist() if isinstance(cell, str) and not cell.lstrip().startswith("[")]
    return next((mark for mark in _SEPARATORS if any(mark in text for text in texts)), None)


class SetInputPreprocessing(Section):
    """How the cells of a set input are read."""

    missing_value_strategy: Literal["fill_with_const", "drop_row", "error"] = param(
        "What is done about a missing cell; fill_with_const takes it as no label.", default="fill_with_const"
    )
    separator: str | None = param(
        "What stands between the labels of a text; null is the first of | ; , in the training cells, or white space.",
        default=None,
    )
    lowercase: bool = param("Write every label in lower case.", default=False)
    most_common: int = param("Labels to keep, the most frequent; others are left out.", default=10_000, min=1)


@input_features.register("set")
class SetInput(_Set, InputFeature):
    """Any number of labels a row, such as tags or genres, in no order.

    A cell is a list, a JSON list, or labels in a text between separators. For an encoder: the numbers of the labels,
    from 1 on, ``int32 (labels,)``; 0 stands for one that is unknown, or for none at all.
    """

    emits = "set"
    default_encoder = "label_embedding"
    without_effect: ClassVar[Any] = {"llm": {"most_common": ("leave it out, every label is written as it is", ())}}

    class Config(InputFeature.Config):
        preprocessing: SetInputPreprocessing = param("How cells are read.", default=SetInputPreprocessing())
        encoder: Encoder.Config | None = param(
            "How labels become a vector (ecd), label_embedding if null.",
            default=None,
            registry=encoders.where(accepts="set"),
        )

    def transform(self, column: pd.Series) -> Ragged:
        numbers = {label: number for number, label in enumerate(self.state.labels, start=1)}
        return Ragged.from_rows(
            [[numbers.get(label, 0) for label in labels] or [0] for labels in self.labels_of(column)]
        )

    def without_rows(self) -> Self:
        self.state = self.State(labels=[], counts=[], separator=self.config.preprocessing.separator, fill=[])
        return self

    def render(self, column: pd.Series) -> list[str]:
        """Return the labels as a prompt has them, with a comma between them."""
        return [", ".join(labels) if isinstance(labels, list) else "" for labels in self.read(column)]


class SetOutputPreprocessing(Section):
    """How the cells of a set output are read."""

    missing_value_strategy: Literal["error", "drop_row", "fill_with_const"] = param(
        "What is done about a missing cell; fill_with_const takes it as no label.", default="error"
    )
    separator: str | None = param(
        "What stands between the labels of a text; null is the first of | ; , in the training cells, or white space.",
        default=None,
    )
    lowercase: bool = param("Write every label in lower case.", default=False)
    most_common: int = param("Labels to keep, the most frequent; others cannot be predicted.", default=10_000, min=1)


@output_features.register("set")
class SetOutput(_Set, OutputFeature):
    """Any number of labels a row, each predicted for itself (multi-label classification).

    Prediction columns: ``<name>_predictions``, the list of the labels whose share reaches ``threshold``, and
    ``<name>_probabilities``, the share of every label in the order of their frequency in training. A label that no
    training row has is never predicted; metrics count it as missed.
    """

    default_decoders: ClassVar[dict[str, str]] = {"ecd": "classifier"}
    default_loss = "sigmoid_cross_entropy"

    class Config(OutputFeature.Config):
        preprocessing: SetOutputPreprocessing = param("How cells are read.", default=SetOutputPreprocessing())
        threshold: float = param("Least share of a label that is predicted.", default=0.5, min=0, max=1)
        decoder: Decoder.Config | None = param(
            "How labels are scored, classifier if null.", default=None, registry=decoders.where(accepts="set")
        )
        loss: Loss.Config | None = param(
            "What is minimized, sigmoid_cross_entropy if null.", default=None, registry=losses.where(accepts="set")
        )

    @property
    def labels(self) -> list[str]:
        return list(self.state.labels)

    def targets(self, column: pd.Series) -> np.ndarray[Any, Any]:
        """Return which labels each row has, 1 or 0, ``float32 (rows, labels)``; unknown ones are left out."""
        import numpy as np

        numbers = {label: number for number, label in enumerate(self.state.labels)}
        found = np.zeros((len(column), len(numbers)), dtype=np.float32)
        for row, labels in enumerate(self.labels_of(column)):
            found[row, [numbers[label] for label in labels if label in numbers]] = 1.0
        return found

    def truth(self, column: pd.Series) -> list[list[str]]:
        return self.labels_of(column)

    def raw(self, scores: np.ndarray[Any, Any]) -> Raw:
        import numpy as np

        return Raw(probabilities=1.0 / (1.0 + np.exp(-scores.astype(np.float64).clip(-500, 500))))

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        shares = raw.probabilities
        listed: list[Any] = [] if shares is None else shares.tolist()
        return {f"{self.name}_predictions": self._chosen(raw), f"{self.name}_probabilities": listed}

    def metric_prediction(self, raw: Raw) -> Prediction:
        from declarlm.metrics import Prediction

        return Prediction(values=self._chosen(raw), probabilities=raw.probabilities, labels=self.labels)

    def _chosen(self, raw: Raw) -> list[list[str]]:
        labels, threshold = self.labels, self.config.threshold
        shares: Iterable[Any] = [] if raw.probabilities is None else raw.probabilities.tolist()
        return [[label for label, share in zip(labels, row, strict=True) if share >= threshold] for row in shares]
