"""Number features: one real number per row."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import DataError, Section, param
from declarlm.decoders.base import Decoder, decoders
from declarlm.decoders.constraints import Constraint, number_constraint
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import (
    AS_IT_IS,
    FILLED,
    Feature,
    InputFeature,
    OutputFeature,
    Raw,
    input_features,
    output_features,
    quote,
)
from declarlm.features.cells import as_numbers, as_texts, cell_text, decimal_text
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.metrics import Prediction


class NumberPreprocessing(Section):
    """How the numbers of a column are scaled."""

    fill_value: float = param("Number that stands for a missing cell under fill_with_const.", default=0.0)
    normalization: Literal["zscore", "minmax", "log1p", "iq"] | None = param(
        "Scale: to mean 0 and deviation 1, to 0..1, log(1 + x), median and quartile distance, or none.",
        default="zscore",
    )
    outlier_strategy: Literal["clip", "fill_with_const", "fill_with_mean"] | None = param(
        "What is done about a number far from the mean: it moves to the bound, counts as fill_value, or as the mean.",
        default=None,
    )
    outlier_threshold: float = param("Standard deviations from the mean that count as far.", default=3.0, above=0)


class NumberInputPreprocessing(NumberPreprocessing):
    """How the cells of a number input are read and scaled."""

    missing_value_strategy: Literal[
        "fill_with_mean", "fill_with_const", "fill_with_mode", "bfill", "ffill", "drop_row", "error"
    ] = param("What stands for a missing cell.", default="fill_with_mean")


class NumberOutputPreprocessing(NumberPreprocessing):
    """How the cells of a number output are read, and scaled for training; predictions are in the column's unit."""

    missing_value_strategy: Literal[
        "error", "drop_row", "fill_with_mean", "fill_with_const", "fill_with_mode", "bfill", "ffill"
    ] = param("What is done about a row without a number.", default="error")


_SCALE = dict.fromkeys(("normalization", "outlier_strategy", "outlier_threshold"), AS_IT_IS)


class NumberState(Section):
    """What is learned from a number column: scaled = (number - shift) / scale, of the logarithm under log1p."""

    fill: float | None = param("Number that stands for a missing cell.", default=None)
    shift: float = param("What is subtracted.")
    scale: float = param("What is divided by.", above=0)
    mean: float = param("Mean of the training rows.")
    deviation: float = param("Standard deviation of the training rows.", min=0)


class _Number(Feature):
    """What both number features have in common."""

    def read(self, column: pd.Series) -> pd.Series:
        return as_numbers(column)

    def fit(self, column: pd.Series) -> Self:
        import numpy as np

        read = self.read(column)
        if read.isna().all():
            raise DataError("has no number in any training row", column=self.config.source)
        fill = self.learn_fill(read)
        mean, deviation = float(read.mean()), float(read.std(ddof=0))
        state: Any = self.State
        plain = state(fill=fill, shift=0.0, scale=1.0, mean=mean, deviation=deviation)
        self.state = plain
        values = self._logarithms(self._inliers(read)).dropna()
        shift, scale = 0.0, 1.0
        match self.config.preprocessing.normalization:
            case "zscore":
                shift, scale = float(values.mean()), float(values.std(ddof=0))
            case "minmax":
                shift, scale = float(values.min()), float(values.max() - values.min())
            case "iq":
                low, shift, high = map(float, np.percentile(values, [25, 50, 75]))
                scale = high - low
        # A constant column has no spread; it becomes 0 everywhere instead of a division by zero.
        self.state = plain.replace(shift=shift, scale=scale if scale > 0 else 1.0)
        return self

    def scaled(self, column: pd.Series) -> np.ndarray[Any, Any]:
        """Return the filled and scaled numbers, ``float32 (rows,)``."""
        import numpy as np

        values = self._logarithms(self._inliers(self.fill(self.read(column))))
        scaled: np.ndarray[Any, Any] = ((values - self.state.shift) / self.state.scale).to_numpy(dtype=np.float32)
        return scaled

    def _inliers(self, values: pd.Series) -> pd.Series:
        """Return the numbers with those far from the mean dealt with."""
        preprocessing, state = self.config.preprocessing, self.state
        bound = preprocessing.outlier_threshold * state.deviation
        if preprocessing.outlier_strategy is None:
            return values
        if preprocessing.outlier_strategy == "clip":
            return values.clip(state.mean - bound, state.mean + bound)
        fill = state.mean if preprocessing.outlier_strategy == "fill_with_mean" else preprocessing.fill_value
        return values.mask((values - state.mean).abs() > bound, fill)

    def _logarithms(self, values: pd.Series) -> pd.Series:
        import numpy as np

        if self.config.preprocessing.normalization != "log1p":
            return values
        low = values <= -1
        if low.any():
            row = int(low.to_numpy().argmax())
            raise DataError(
                f"{values.iloc[row]:g} has no log1p, which needs numbers above -1; choose another "
                "preprocessing.normalization: zscore, minmax, iq",
                column=self.config.source,
                row=values.index[row],
            )
        logarithms: pd.Series = np.log1p(values)
        return logarithms


@input_features.register("number")
class NumberInput(_Number, InputFeature):
    """One real number, such as an age or a price.

    For an encoder: the scaled number, ``float32 (rows, 1)``.
    """

    emits = "number"
    without_effect: ClassVar[Any] = {
        "llm": {**_SCALE, "fill_value": AS_IT_IS, "missing_value_strategy": FILLED},
    }
    default_encoder = "ple"

    class Config(InputFeature.Config):
        preprocessing: NumberInputPreprocessing = param(
            "How cells are read and scaled.", default=NumberInputPreprocessing()
        )
        encoder: Encoder.Config | None = param(
            "How the number becomes a vector (ecd), ple if null.",
            default=None,
            registry=encoders.where(accepts="number"),
        )

    class State(NumberState):
        pass

    def transform(self, column: pd.Series) -> np.ndarray[Any, Any]:
        return self.scaled(column)[:, None]

    def render(self, column: pd.Series) -> list[str]:
        """Return the numbers for a prompt, alike however a table writes them: ``1.0`` in a file is the number 1."""
        texts = super().render(column)
        return [cell_text(number) if (number := _number(text)) is not None else text for text in texts]


@output_features.register("number")
class NumberOutput(_Number, OutputFeature):
    """One real number, such as a rating.

    Losses compare scaled numbers; predictions and metrics are in the column's own unit. Prediction column:
    ``<name>_predictions``; a language model's answer without a number gives NaN and ``<name>_error``.
    """

    default_decoders: ClassVar[dict[str, str]] = {"ecd": "regressor", "llm": "number_extractor"}
    default_loss = "mean_squared_error"
    without_effect: ClassVar[Any] = {
        "llm": dict.fromkeys(_SCALE, ("leave it out, a number is written as it is", ())),
    }

    class Config(OutputFeature.Config):
        preprocessing: NumberOutputPreprocessing = param(
            "How cells are read and scaled.", default=NumberOutputPreprocessing()
        )
        decoder: Decoder.Config | None = param(
            "How the number is predicted; null means regressor (ecd) or number_extractor (llm).",
            default=None,
            registry=decoders.where(accepts="number"),
        )
        loss: Loss.Config | None = param(
            "What is minimized, mean_squared_error if null.", default=None, registry=losses.where(accepts="number")
        )

    class State(NumberState):
        pass

    @property
    def num_scores(self) -> int:
        return 1

    def without_rows(self) -> Self:
        self.state = self.State(shift=0.0, scale=1.0, mean=0.0, deviation=1.0, fill=self.unlearned_fill())
        return self

    def targets(self, column: pd.Series) -> np.ndarray[Any, Any]:
        return self.scaled(column)

    def truth(self, column: pd.Series) -> np.ndarray[Any, Any]:
        return self.fill(self.read(column)).to_numpy()

    def answers(self, column: pd.Series) -> list[str]:
        """Return the numbers as decimals, digit by digit as the table writes them; no other form can be generated."""
        texts, numbers = as_texts(self.fill(as_texts(column))), self.fill(self.read(column))
        return [decimal_text(text, number) for text, number in zip(texts, numbers, strict=True)]

    def constraint(self, tokenizer: Any, stop_ids: Collection[int]) -> Constraint:
        return number_constraint(tokenizer, stop_ids)

    def raw(self, scores: np.ndarray[Any, Any]) -> Raw:
        import numpy as np

        values = scores[:, 0].astype(np.float64) * self.state.scale + self.state.shift
        return Raw(values=np.expm1(values) if self.config.preprocessing.normalization == "log1p" else values)

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        values = self._values(raw)
        columns: dict[str, list[Any]] = {f"{self.name}_predictions": values.tolist()}
        if raw.texts is not None and (values != values).any():
            columns[f"{self.name}_error"] = [
                f"no number in the answer {quote(text)}" if value != value else None
                for value, text in zip(values.tolist(), raw.texts, strict=True)
            ]
        return columns

    def metric_prediction(self, raw: Raw) -> Prediction:
        from declarlm.metrics import Prediction

        return Prediction(values=self._values(raw).tolist())

    def _values(self, raw: Raw) -> np.ndarray[Any, Any]:
        """Return the predicted numbers, clipped; NaN where an answer holds none."""
        import numpy as np

        values = raw.values
        if values is None:
            extractor: Any = self.make_decoder("llm")
            values = np.array([extractor.read(text) for text in raw.texts or []], dtype=np.float64)
        clip = getattr(self.config.decoder, "clip", None)
        return values if clip is None else np.clip(values, *clip)


def _number(text: str) -> float | None:
    """Return the number that a text is, None if it is none or has more digits than a float holds."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 2.0**53 else None
