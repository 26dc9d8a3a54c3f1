"""Vector features: numbers that belong together, as many in every row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import DataError, Section, param
from declarlm.decoders.base import Decoder, decoders
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import Feature, InputFeature, OutputFeature, Raw, input_features, output_features
from declarlm.features.cells import cell_text
from declarlm.features.lists import parts_of
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.metrics import Prediction


class VectorPreprocessing(Section):
    """How the cells of a vector are read."""

    missing_value_strategy: Literal["error", "drop_row", "fill_with_const"] = param(
        "What is done about a missing cell; fill_with_const takes it as zeros.", default="error"
    )
    vector_size: int | None = param(
        "How many numbers a row has; null is as many as the first training row.", default=None, min=1
    )


class _Vector(Feature):
    """What both sides of the feature have in common: cells that hold numbers."""

    class State(Feature.State):
        size: int = param("How many numbers a row has.", min=1)
        fill: list[float] | None = param("Numbers that stand for a missing cell.", default=None)

    def fit(self, column: pd.Series) -> Self:
        """Learn from the training rows how many numbers a row has.

        Raises:
            DataError: If a row has another number of them, or none has any.
        """
        preprocessing = self.config.preprocessing
        size = preprocessing.vector_size
        if size is None:
            first = column.dropna()
            if first.empty:
                raise DataError("is missing in every row", column=self.config.source)
            size = len(self._numbers(first.iloc[0], first.index[0]))
        zeros = [0.0] * size if preprocessing.missing_value_strategy == "fill_with_const" else None
        self.state = self.State(size=max(1, size), fill=zeros)
        self.read(column)
        return self

    def read(self, column: pd.Series) -> pd.Series:
        import pandas as pd

        cells = zip(column.tolist(), column.isna().tolist(), column.index, strict=True)
        found = [None if missing else self._sized(cell, row) for cell, missing, row in cells]
        return pd.Series(found, index=column.index, name=column.name, dtype=object)

    def _sized(self, cell: Any, row: object) -> list[float]:
        numbers = self._numbers(cell, row)
        if len(numbers) != self.state.size:
            raise DataError(
                f"has {len(numbers)} numbers, but {self.state.size} are wanted; every row must have as many",
                column=self.config.source,
                row=row,
            )
        return numbers

    def _numbers(self, cell: Any, row: object) -> list[float]:
        parts = parts_of(cell)
        parts = cell_text(cell).replace(",", " ").split() if parts is None else parts
        found = []
        for part in parts:
            try:
                found.append(float(part))
            except (TypeError, ValueError):
                found.append(math.nan)
            if not math.isfinite(found[-1]):
                what = "write a list of numbers, or numbers between white space or commas"
                raise DataError(f"{part!r} is not a number; {what}", column=self.config.source, row=row)
        return found

    def fill(self, values: pd.Series) -> pd.Series:
        self.check_missing(values)
        missing = values.isna()
        return values.where(~missing, missing.map(lambda _: self.state.fill)) if missing.any() else values

    def array(self, column: pd.Series) -> np.ndarray[Any, Any]:
        """Return the numbers of each row, ``float32 (rows, size)``."""
        import numpy as np

        rows = list(self.fill(self.read(column)))
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.state.size)


@input_features.register("vector")
class VectorInput(_Vector, InputFeature):
    """Numbers that belong together, such as an embedding or the readings of a sensor, as many in every row.

    A cell is a list, an array, a JSON list, or numbers in a text between white space or commas. For an encoder: the
    numbers as they are, ``float32 (rows, size)``.
    """

    emits = "vector"
    default_encoder = "dense"
    without_effect: ClassVar[Any] = {"llm": {"vector_size": ("leave it out, the cell is written as it is", ())}}

    class Config(InputFeature.Config):
        preprocessing: VectorPreprocessing = param("How cells are read.", default=VectorPreprocessing())
        encoder: Encoder.Config | None = param(
            "What the numbers pass through (ecd), dense if null.",
            default=None,
            registry=encoders.where(accepts="vector"),
        )

    def transform(self, column: pd.Series) -> np.ndarray[Any, Any]:
        return self.array(column)


@output_features.register("vector")
class VectorOutput(_Vector, OutputFeature):
    """Numbers that belong together, predicted together, as many in every row.

    Prediction column: ``<name>_predictions``, a list of numbers each.
    """

    default_decoders: ClassVar[dict[str, str]] = {"ecd": "projector"}
    default_loss = "mean_squared_error"

    class Config(OutputFeature.Config):
        preprocessing: VectorPreprocessing = param("How cells are read.", default=VectorPreprocessing())
        decoder: Decoder.Config | None = param(
            "How the numbers are predicted, projector if null.",
            default=None,
            registry=decoders.where(accepts="vector"),
        )
        loss: Loss.Config | None = param(
            "What is minimized, mean_squared_error if null.", default=None, registry=losses.where(accepts="vector")
        )

    @property
    def num_scores(self) -> int:
        return int(self.state.size)

    def targets(self, column: pd.Series) -> np.ndarray[Any, Any]:
        return self.array(column)

    def truth(self, column: pd.Series) -> list[list[float]]:
        return list(self.fill(self.read(column)))

    def raw(self, scores: np.ndarray[Any, Any]) -> Raw:
        import numpy as np

        return Raw(values=scores.astype(np.float64))

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        return {f"{self.name}_predictions": [] if raw.values is None else raw.values.tolist()}

    def metric_prediction(self, raw: Raw) -> Prediction:
        from declarlm.metrics import Prediction

        return Prediction(values=[] if raw.values is None else raw.values.tolist())
