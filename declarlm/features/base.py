"""What every feature has in common: a column and what was learned from its training rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from declarlm.core import DataError, Problem, Registry, Section, param
from declarlm.core.errors import choose_from
from declarlm.decoders.base import Decoder, decoders
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.cells import cell_text
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.core.ragged import Ragged
    from declarlm.decoders.constraints import Constraint
    from declarlm.metrics import Prediction

input_features: Registry[InputFeature] = Registry("input feature", package="declarlm.features")
output_features: Registry[OutputFeature] = Registry("output feature", package="declarlm.features")


@dataclass(frozen=True, eq=False)
class Raw:
    """What a model says about one output, before it becomes prediction columns.

    Attributes:
        probabilities: Share of each label, ``float (rows, labels)``, in the order of the feature's labels.
        values: Numbers in the column's own unit, ``float (rows,)``.
        texts: Generated answers, one a row.
        words: Share of each label for each word, ``float (words, labels)``, one a row; NaN for a word not read.
    """

    probabilities: np.ndarray[Any, Any] | None = None
    values: np.ndarray[Any, Any] | None = None
    texts: list[str] | None = None
    words: list[np.ndarray[Any, Any]] | None = None

    def take(self, rows: np.ndarray[Any, Any]) -> Raw:
        """Return what is said about the given rows."""
        return Raw(
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            values=None if self.values is None else self.values[rows],
            texts=None if self.texts is None else [self.texts[row] for row in rows],
            words=None if self.words is None else [self.words[row] for row in rows],
        )


def interleaved(parts: Sequence[Raw]) -> Raw:
    """Return what is said about all rows, of which the first is in the first part, the second in the second."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    found: dict[str, Any] = {}
    for name, first in vars(parts[0]).items():
        pieces = [getattr(part, name) for part in parts]
        if first is None:
            continue
        total = sum(map(len, pieces))
        found[name] = [""] * total if isinstance(first, list) else np.empty((total, *first.shape[1:]), first.dtype)
        for place, piece in enumerate(pieces):
            found[name][place :: len(pieces)] = piece
    return Raw(**found)


class Feature:
    """One column of a table, read and checked by type.

    A feature is made from its section, fitted once on the training rows, and saved with the model::

        feature = config.build().fit(train["city"])
        restored = config.build(State.load(feature.state.dump()))

    Attributes:
        without_effect: For a model type, the keys of ``preprocessing`` that it does not read, each with what to write
            instead and the values that are allowed beside the default.
        config: The section that describes the feature.
        state: What ``fit`` learned, itself a section, so that it is saved and checked like a config; None before.
    """

    without_effect: ClassVar[Mapping[str, Mapping[str, tuple[str, tuple[Any, ...]]]]] = {}

    class Config(Section):
        name: str = param("Name of the feature, and of its column unless 'column' is given.")
        column: str | None = param("Column of the table, if not the name.", default=None)
        preprocessing: Any

        @property
        def source(self) -> str:
            """Column of the table that the feature reads or predicts."""
            return self.column or self.name

        def check(self) -> Iterable[Problem]:
            if not self.name:
                yield Problem("name", "must not be empty")

    class State(Section):
        fill: Any

    def __init__(self, config: Any, state: Any = None) -> None:
        self.config = config
        self.state: Any = state

    @classmethod
    def check_effect(cls, config: Any, model_type: str) -> Iterable[Problem]:
        """Yield what is set in ``preprocessing`` though a model of this type does not read it."""
        given = config.preprocessing
        usual = type(given)()
        for key, (remedy, allowed) in cls.without_effect.get(model_type, {}).items():
            if getattr(given, key) not in (getattr(usual, key), *allowed):
                yield Problem(f"preprocessing.{key}", f"has no effect on model_type {model_type!r}; {remedy}")

    @property
    def name(self) -> str:
        """Name of the feature."""
        return str(self.config.name)

    def fit(self, column: pd.Series) -> Self:
        """Learn ``state`` from the training rows.

        Raises:
            DataError: If a cell cannot be read as the feature's type, or nothing can be learned from the column.
        """
        raise NotImplementedError

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Take over a state that was dumped earlier."""
        self.state = self.State.load(state)
        return self

    def read(self, column: pd.Series) -> pd.Series:
        """Return the cells as this type's plain values, missing ones as None or NaN.

        Raises:
            DataError: With the column, the row and the value that cannot be read.
        """
        raise NotImplementedError

    def keep(self, column: pd.Series) -> np.ndarray[Any, Any]:
        """Return which rows stay, ``bool (rows,)``: all but missing ones under the strategy ``drop_row``."""
        import numpy as np

        if self.config.preprocessing.missing_value_strategy != "drop_row":
            return np.ones(len(column), dtype=bool)
        return ~column.isna().to_numpy()

    def fill(self, values: pd.Series) -> pd.Series:
        """Return read values with the missing ones filled in.

        Raises:
            DataError: If one is missing and the strategy is ``error`` or ``drop_row`` (use ``keep`` first), or needs
                training rows and there were none.
        """
        self.check_missing(values)
        strategy = self.config.preprocessing.missing_value_strategy
        if not values.isna().any():
            return values
        if strategy in ("bfill", "ffill"):
            values = values.bfill() if strategy == "bfill" else values.ffill()
        missing = values.isna()
        if self.state.fill is None and missing.any():
            remedy = f"{strategy} learns what stands for it from training rows: call train first, or write drop_row"
            row = values.index[int(missing.to_numpy().argmax())]
            raise DataError(f"is missing, and {remedy}", column=self.config.source, row=row)
        return values.fillna(self.state.fill)

    @property
    def _lacks(self) -> str:
        """What is wrong with a missing cell."""
        return "is missing"

    @property
    def _dropping(self) -> str:
        """What leaves rows with a missing cell out."""
        return "preprocessing.missing_value_strategy: drop_row"

    def check_missing(self, values: pd.Series) -> None:
        """Refuse missing cells where nothing may stand for them.

        Raises:
            DataError: If one is missing and the strategy is ``error`` or ``drop_row`` (use ``keep`` first).
        """
        strategy = self.config.preprocessing.missing_value_strategy
        missing = values.isna()
        if strategy in ("error", "drop_row") and missing.any():
            if missing.all():
                raise DataError(f"{self._lacks} in every row", column=self.config.source)
            remedy = f"; write {self._dropping} to leave such rows out"
            row = values.index[int(missing.to_numpy().argmax())]
            raise DataError(f"{self._lacks}{remedy * (strategy == 'error')}", column=self.config.source, row=row)

    def unlearned_fill(self) -> Any:
        """Return what stands for a missing value without training rows, None where only they could tell."""
        preprocessing = self.config.preprocessing
        known = preprocessing.missing_value_strategy in ("fill_with_const", "bfill", "ffill")
        return preprocessing.fill_value if known else None

    def learn_fill(self, values: pd.Series) -> Any:
        """Return what stands for a missing value, from the read values of the training rows.

        Raises:
            DataError: If it is to be the mode or the mean and every value is missing.
        """
        preprocessing = self.config.preprocessing
        match preprocessing.missing_value_strategy:
            case "fill_with_mode" | "fill_with_mean" if values.isna().all():
                raise DataError("has no value in any training row", column=self.config.source)
            case "fill_with_mode":
                return values.value_counts().sort_index().idxmax()
            case "fill_with_mean":
                return float(values.mean())
            case "fill_with_const" | "bfill" | "ffill":
                return preprocessing.fill_value
        return None


class InputFeature(Feature):
    """A column that the model reads.

    Attributes:
        emits: Kind of values that ``transform`` returns, matched against what an encoder ``accepts``.
        default_encoder: Encoder of an ecd model when the config names none.
    """

    emits: ClassVar[str]
    default_encoder: ClassVar[str]

    class Config(Feature.Config):
        tied: str | None = param("Name of the input whose encoder this one shares, weights and all.", default=None)
        encoder: Encoder.Config | None

    def transform(self, column: pd.Series) -> Any:
        """Return the column as the encoder takes it: a list of texts, or an array whose first axis is the row."""
        raise NotImplementedError

    def without_rows(self) -> Self:
        """Set what of ``state`` a prompt needs, for a language model that was never trained."""
        return self

    def render(self, column: pd.Series) -> list[str]:
        """Return the column as it stands in a prompt; a missing cell is an empty text."""
        return ["" if missing else cell_text(cell) for cell, missing in zip(column, column.isna(), strict=True)]

    def make_encoder(self, state: Any = None) -> Encoder:
        """Return the encoder that the config names, or the default one, not yet built."""
        config = self.config.encoder or encoders[self.default_encoder].Config()
        made: Encoder = config.build(state)
        return made


class OutputFeature(Feature):
    """A column that the model predicts, by a head (ecd) or by writing an answer (llm).

    Attributes:
        default_decoders: Decoder for each model type that can predict this feature, when the config names none.
        default_loss: Loss of an ecd model when the config names none.
        is_free: Whether a language model writes it as free text, to be read afterwards.
        per_word: Whether each word of an input has a value of its own; its config then has ``of``.
        labels: Every value that can be predicted, as text, in a fixed order; empty for numbers and free text.
        num_scores: Length of the score vector that a head must give.
    """

    default_decoders: ClassVar[dict[str, str]]
    default_loss: ClassVar[str]
    is_free: ClassVar[bool] = False
    per_word: ClassVar[bool] = False

    class Config(Feature.Config):
        decoder: Decoder.Config | None
        loss: Loss.Config | None
        metrics: list[str] | None = param("Metrics to report, all that fit if null.", default=None)

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            yield from self._check_metrics()

        def _check_metrics(self) -> Iterable[Problem]:
            if self.metrics is None:
                return
            from declarlm.metrics import canonical, metrics, of_the_loss

            fitting = [name for name in metrics if self.type in metrics[name].accepts]
            fitting += of_the_loss(str(self.type))
            for index, name in enumerate(self.metrics):
                if canonical(name) not in fitting:
                    yield Problem(f"metrics[{index}]", f"no {self.type} metric is named {choose_from(name, fitting)}")

    @property
    def labels(self) -> list[str]:
        """Every value that can be predicted, as text."""
        return []

    @property
    def num_scores(self) -> int:
        """Length of a row's score vector."""
        return len(self.labels)

    def without_rows(self) -> Self:
        """Set ``state`` for a language model that was never trained, from the config alone.

        Raises:
            DataError: If the config does not say what can be predicted.
        """
        raise NotImplementedError

    def make_decoder(self, model_type: str) -> Decoder:
        """Return the decoder that the config names, or the default one of the model type."""
        config = self.config.decoder or decoders[self.default_decoders[model_type]].Config()
        made: Decoder = config.build()
        return made

    def make_loss(self, model_type: str) -> Loss:
        """Return the loss that the config names, or the default one, with what it must know of the labels."""
        name = self.default_loss if model_type == "ecd" else "next_token_softmax_cross_entropy"
        config = self.config.loss or losses[name].Config()
        counts = getattr(self.state, "counts", [])
        made: Loss = config.build(labels=self.labels, counts=counts, column=self.config.source)
        return made

    def constraint(self, tokenizer: Any, stop_ids: Collection[int]) -> Constraint | None:
        """Return which tokens a language model may write the answer in, None if any.

        Raises:
            ModelError: If the tokens cannot write such an answer.
        """
        return None

    def targets(self, column: pd.Series) -> np.ndarray[Any, Any] | Ragged:
        """Return what a loss compares scores with; a label unseen in training is -1 and weighs nothing."""
        raise NotImplementedError

    def answers(self, column: pd.Series) -> list[str]:
        """Return the text that a language model is to write for each row."""
        raise NotImplementedError

    def truth(self, column: pd.Series) -> Any:
        """Return the column as metrics compare it with ``metric_prediction``."""
        raise NotImplementedError

    def raw(self, scores: np.ndarray[Any, Any]) -> Raw:
        """Return the meaning of a head's scores, ``float (rows, num_scores)``."""
        raise NotImplementedError

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        """Return the prediction columns by name, each with one value a row."""
        raise NotImplementedError

    def metric_prediction(self, raw: Raw) -> Prediction:
        """Return what metrics compare with the truth."""
        raise NotImplementedError


# What of the reading of numbers and binaries a language model does not see: a cell stands in the prompt as it is.
AS_IT_IS = ("leave it out, the cell stands in the prompt as it is, a missing one as an empty text", ())
FILLED = (f"{AS_IT_IS[0]}; drop_row and error work", ("drop_row", "error"))


def quote(text: str) -> str:
    """Return a text in double quotes, as YAML and JSON write it."""
    return json.dumps(text, ensure_ascii=False)
