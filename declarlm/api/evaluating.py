"""Predictions and evaluations of a model that is ready."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.api.spreading import Predicting
from declarlm.config import LlmConfig, ModelConfig
from declarlm.core import ConfigError, Problem
from declarlm.core.document import Document
from declarlm.data.tables import read_table
from declarlm.data.write import check_target, write_table
from declarlm.evaluation import EvaluationResult, mean_losses, measure, predictions
from declarlm.inference.generation import Generation
from declarlm.inference.predictor import predict_rows, predict_table, prediction_table, remarks_on
from declarlm.training.group import Alone
from declarlm.training.progress import tell

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model


class Predicts:
    """The verbs that change no weight: predict and evaluate."""

    config: ModelConfig
    document: Document
    device: str | None
    _directory: Path | None

    @abstractmethod
    def _ready(self, table: pd.DataFrame | None = None) -> Model:
        """Return the model, making one that needs no training on first use."""

    def predict(
        self, dataset: Any, *, generation: Mapping[str, Any] | None = None, output: str | Path | None = None
    ) -> pd.DataFrame:
        """Return the predictions for each row of a dataset, with its index, in its order.

        A row that cannot be predicted has missing values, and the reason in the column ``<output>_error``.

        Args:
            dataset: Rows with the columns that the prompt or the input features read.
            generation: Keys of the ``generation`` section that are to be different for this call.
            output: File to write the predictions to as well, in the format that its name asks for.

        Raises:
            DataError: If a column is missing, or ``output`` has no known ending or is the dataset itself.
            RunError: If the model must be trained first, or ``output`` cannot be written.
        """
        if output is not None:
            check_target(Path(output), dataset)
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        backend = self.config.backend.build()
        settings = self._generation(generation)
        if backend.is_here:
            found, reasons = self.predict_block(table, settings)
        else:
            found, reasons = backend.predict(table, self._predicting(settings))
        if output is not None:
            write_table(found, Path(output))
        tell(remarks_on(reasons, len(table)), None)
        return found

    def predict_block(self, table: pd.DataFrame, settings: Generation) -> tuple[pd.DataFrame, dict[int, str]]:
        """Return the predictions for rows, made in this process, and why rows failed, by position."""
        return predict_table(self._ready(table), table, settings)

    def evaluate(self, dataset: Any, *, generation: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Return metrics and predictions on rows whose answers are known; ``generation`` is as for ``predict``.

        Raises:
            DataError: If a column is missing or a cell cannot be read.
            RunError: If the model must be trained first.
        """
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        self._ready(table)
        return self._evaluate(table, generation)

    def _evaluate(
        self, table: pd.DataFrame, generation: Mapping[str, Any] | None = None, group: Alone | None = None
    ) -> EvaluationResult:
        model, together, settings = self._ready(table), group or Alone(), self._generation(generation)
        objective = self.config.trainer.build()
        judged = model.labelled(table)
        losses = mean_losses(model, objective.store(model, table.iloc[judged]), group=together)
        raws = predictions(together, table, lambda some: predict_rows(model, some, settings))
        measured = measure(model.outputs, table.iloc[judged], {name: raw.take(judged) for name, raw in raws.items()})
        metrics = {name: {**measured.get(name, {}), **values} for name, values in losses.items()}
        return EvaluationResult(metrics, prediction_table(model.outputs, raws, table.index))

    def _predicting(self, settings: Generation) -> Predicting:
        """Return what predicts in other processes."""
        if self._directory is None and self.config.objective.trains:
            self._ready()  # says what is missing
        return Predicting(self._directory, self.document.data, settings, self.device)

    def _predict_raw(self, model: Model, table: pd.DataFrame, only: Any) -> Any:
        return predict_rows(model, table, self._generation(None), only)

    def _generation(self, changes: Mapping[str, Any] | None) -> Generation:
        if isinstance(self.config, LlmConfig):
            settings = self.config.generation
            return Generation.load({**settings.dump(), **changes}, source="generation") if changes else settings
        if changes:
            raise ConfigError(
                "generation", [Problem(next(iter(changes)), "is for model_type 'llm', which writes text")]
            )
        return Generation()
