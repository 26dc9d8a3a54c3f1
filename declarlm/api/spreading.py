"""What is sent to other processes: a training that they take part in, and predictions that they make."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from declarlm.api.training import Metrics
    from declarlm.backends import Seat
    from declarlm.backends.base import Predict
    from declarlm.inference.generation import Generation
    from declarlm.training.workload import Evaluation


@dataclass(frozen=True, eq=False)
class Training:
    """One training, in which several processes take part.

    Attributes:
        config: The config, complete.
        rows: Path or table by role: dataset, validation, test.
        directory: The run directory, which is open.
        origin: Directory of a run that a new one starts from.
    """

    config: Mapping[str, Any]
    rows: Mapping[str, Any]
    directory: Path
    origin: Path | None = None

    def __call__(self, seat: Seat) -> Generator[Evaluation, None, Metrics]:
        """Train in a process that has this seat, and return the metrics."""
        from declarlm.api.model import DeclarLM

        model = DeclarLM(self.config, device=seat.device)
        result = yield from model.steps(
            **self.rows, resume=self.directory, origin=self.origin, progress=seat.progress, seat=seat
        )
        return result.metrics


@dataclass(frozen=True, eq=False)
class Predicting:
    """A model that predicts in other processes.

    Attributes:
        directory: Its run directory; null for a model that needs no training.
        config: The config, complete.
        generation: The section ``generation`` for these predictions.
        device: Where it predicts.
        adapter: One of several adapters; null for what a column says of each row, or the one in use at first.
    """

    directory: Path | None
    config: Mapping[str, Any]
    generation: Generation
    device: str | None
    adapter: str | None = None

    def __call__(self) -> Predict:
        """Open the model, and return what predicts a table with it."""
        from declarlm.api.model import DeclarLM

        if self.directory is None:
            model = DeclarLM(self.config, overrides={"backend": "local"}, device=self.device)
        else:
            model = DeclarLM.load(self.directory, device=self.device)
        return lambda table: model.predict_block(table, self.generation, self.adapter)
