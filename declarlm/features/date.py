"""Date features: a day or a moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import DataError, Problem, Section, param
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import AS_IT_IS, FILLED, InputFeature, input_features
from declarlm.features.cells import cell_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_DAY = 86_400.0
# Length of each round in seconds, for what comes again: a day, a week, and a mean year.
_ROUNDS = (_DAY, 7 * _DAY, 365.2425 * _DAY)
_MONTHS = 12


class DatePreprocessing(Section):
    """How the cells of a date are read."""

    missing_value_strategy: Literal["fill_with_mean", "fill_with_mode", "bfill", "ffill", "drop_row", "error"] = param(
        "What stands for a missing cell.", default="fill_with_mean"
    )
    datetime_format: str | None = param(
        "How dates are written, as in %d.%m.%Y; null reads ISO 8601 (2026-11-27, with 14:05 or a zone) and what is a "
        "date in the table already.",
        default=None,
    )

    def check(self) -> Iterable[Problem]:
        form = self.datetime_format
        if form is not None and "%" not in form:
            remedy = "write it by %d.%m.%Y, %Y-%m-%d %H:%M and the like"
            yield Problem("datetime_format", f"says nothing of a day, got {form!r}; {remedy}")


@input_features.register("date")
class DateInput(InputFeature):
    """A day or a moment, such as when an order was placed.

    A time with a zone is taken in UTC, one without as it stands. For an encoder: how long after the mean of the
    training rows, in deviations; then the sines and the cosines of the time of day, the weekday, the day of the year,
    the month and the day of the month, so that December and January are neighbours: ``float32 (rows, 11)``.
    """

    emits = "vector"
    default_encoder = "dense"
    without_effect: ClassVar[Any] = {"llm": {"datetime_format": AS_IT_IS, "missing_value_strategy": FILLED}}

    class Config(InputFeature.Config):
        preprocessing: DatePreprocessing = param("How cells are read.", default=DatePreprocessing())
        encoder: Encoder.Config | None = param(
            "What the numbers pass through (ecd), dense if null.",
            default=None,
            registry=encoders.where(accepts="vector"),
        )

    class State(InputFeature.State):
        mean: float = param("Mean moment of the training rows, in seconds since 1970.")
        deviation: float = param("Their standard deviation in seconds; 1 if they are all the same.", above=0)
        fill: float | None = param("Moment that stands for a missing cell.", default=None)

    def fit(self, column: pd.Series) -> Self:
        seconds = self.read(column)
        if seconds.isna().all():
            raise DataError("is missing in every row", column=self.config.source)
        deviation = float(seconds.std(ddof=0)) or 1.0
        mean = float(seconds.mean())
        strategy = self.config.preprocessing.missing_value_strategy
        fill = mean if strategy in ("bfill", "ffill") else self.learn_fill(seconds)
        self.state = self.State(mean=mean, deviation=deviation, fill=fill)
        return self

    def read(self, column: pd.Series) -> pd.Series:
        """Return each moment in seconds since 1970, ``float64 (rows,)``, NaN where a cell is missing.

        Raises:
            DataError: If a cell is no date.
        """
        import numpy as np
        import pandas as pd

        form = self.config.preprocessing.datetime_format
        missing = column.isna().to_numpy()
        is_date = column.dtype.kind == "M"
        written = column if is_date else column.map(_written, na_action="ignore")
        found = pd.to_datetime(written, utc=True, errors="coerce", format=None if is_date else form or "ISO8601")
        wrong = np.flatnonzero(~missing & found.isna().to_numpy())
        if wrong.size:
            cell = column.iloc[int(wrong[0])]
            how = f"like {form}" if form else "in ISO 8601, as in 2026-11-27 or 2026-11-27T14:05"
            remedy = f"write it {how}, or set preprocessing.datetime_format"
            raise DataError(f"{cell!r} is not a date; {remedy}", column=self.config.source, row=column.index[wrong[0]])
        seconds = (found - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
        return pd.Series(seconds.to_numpy(dtype=np.float64), index=column.index, name=column.name)

    def transform(self, column: pd.Series) -> np.ndarray[Any, Any]:
        import numpy as np
        import pandas as pd

        seconds = self.fill(self.read(column)).to_numpy(dtype=np.float64)
        days = pd.to_datetime(seconds, unit="s")
        turns = [seconds / length for length in _ROUNDS]
        turns.append((days.month.to_numpy() - 1) / _MONTHS)
        turns.append((days.day.to_numpy() - 1) / days.days_in_month.to_numpy())
        angles = 2 * np.pi * np.stack(turns, axis=1)
        trend = ((seconds - self.state.mean) / self.state.deviation)[:, None]
        return np.concatenate([trend, np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _written(cell: Any) -> Any:
    """Return a cell as a date is read from: a date as it is, anything else as its text."""
    return cell if hasattr(cell, "isoformat") else cell_text(cell).strip()
