"""Predictions and evaluations of a model that is ready."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.api.spreading import Predicting
from declarlm.api.switching import Switches
from declarlm.config import LlmConfig, ModelConfig
from declarlm.core import ConfigError, Problem
from declarlm.core.document import Document
from declarlm.data.tables import read_table
from declarlm.data.write import check_target, write_table
from declarlm.evaluation import EvaluationResult, measure, predictions
from declarlm.inference.embedding import embed_rows
from declarlm.inference.generation import Generation
from declarlm.inference.predictor import predict_rows, predict_table, prediction_table, remarks_on
from declarlm.inference.several import predict_each
from declarlm.training.group import Alone
from declarlm.training.progress import tell

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.features.base import InputFeature, OutputFeature
    from declarlm.models.base import Model
    from declarlm.objectives import Objective


@dataclass(frozen=True)
class Judge:
    """A trained model that judges answers.

    Attributes:
        inputs: The columns that it reads.
        outputs: What it predicts.
        predict: Returns its predictions for a table.
    """

    inputs: Sequence[InputFeature]
    outputs: Sequence[OutputFeature]
    predict: Callable[[pd.DataFrame], pd.DataFrame]


class Predicts(Switches):
    """The verbs that change no weight: predict and evaluate."""

    config: ModelConfig
    document: Document
    device: str | None
    _directory: Path | None

    @abstractmethod
    def _ready(self, table: pd.DataFrame | None = None) -> Model:
        """Return the model, making one that needs no training on first use."""

    def predict(
        self,
        dataset: Any,
        *,
        generation: Mapping[str, Any] | None = None,
        adapter: str | None = None,
        output: str | Path | None = None,
    ) -> pd.DataFrame:
        """Return the predictions for each row of a dataset, with its index, in its order.

        A row that cannot be predicted has missing values, and the reason in the column ``<output>_error``.

        Args:
            dataset: Rows with the columns that the prompt or the input features read.
            generation: Keys of the ``generation`` section that are to be different for this call.
            adapter: Name of one of several adapters, ``base`` for none; by default what ``adapter_column`` says of
                each row, or the one in use.
            output: File to write the predictions to as well, in the format that its name asks for.

        Raises:
            DataError: If a column is missing, or ``output`` has no known ending or is the dataset itself.
            ModelError: If there is no such adapter.
            RunError: If the model must be trained first, or ``output`` cannot be written.
        """
        if output is not None:
            check_target(Path(output), dataset)
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        backend = self.config.backend.build()
        settings = self._generation(generation)
        if backend.is_here:
            found, reasons = self.predict_block(table, settings, adapter)
        else:
            found, reasons = backend.predict(table, self._predicting(settings, adapter))
        if output is not None:
            write_table(found, Path(output))
        tell(remarks_on(reasons, len(table)), None)
        return found

    def predict_block(
        self, table: pd.DataFrame, settings: Generation, adapter: str | None = None
    ) -> tuple[pd.DataFrame, dict[int, str]]:
        """Return the predictions for rows, made in this process, and why rows failed, by position."""
        rows, model = self._rows(table, adapter), self._ready(table)

        def predict(name: str, part: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, str]]:
            return predict_table(self._under(model, name), part, self._settings_under(model, name, settings))

        return predict_each(table, rows, predict)

    def evaluate(
        self, dataset: Any, *, generation: Mapping[str, Any] | None = None, adapter: str | None = None
    ) -> EvaluationResult:
        """Return metrics and predictions on rows whose answers are known; arguments are as for ``predict``.

        Where ``adapter_column`` gives rows to several adapters, the metrics of each are apart, as
        ``<adapter>.<output>``.

        Raises:
            DataError: If a column is missing or a cell cannot be read.
            RunError: If the model must be trained first.
        """
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        self._rows(table, adapter)  # says what is wrong before weights are loaded
        self._ready(table)
        return self._evaluate(table, generation, adapter=adapter)

    def embed(self, dataset: Any, feature: str | None = None) -> np.ndarray[Any, Any]:
        """Return the vector that the encoder of an input gives to each row, at length 1, ``float32 (rows, width)``.

        Args:
            dataset: Rows with the column of that input; no other is read.
            feature: Name of the input feature; by default the first one.

        Raises:
            DataError: If the column is missing or a cell cannot be read.
            ModelError: If the model has no encoder, or no such input.
            RunError: If the model must be trained first.
        """
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        return embed_rows(self._ready(table), table, feature)

    def _evaluate(
        self,
        table: pd.DataFrame,
        generation: Mapping[str, Any] | None = None,
        group: Alone | None = None,
        adapter: str | None = None,
        under: Callable[[Model], AbstractContextManager[Model]] = nullcontext,
    ) -> EvaluationResult:
        rows, model = self._rows(table, adapter), self._ready(table)
        settings, together = self._generation(generation), group or Alone()
        metrics: dict[str, dict[str, float]] = {}

        def judge(name: str, part: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, str]]:
            chosen, options = self._under(model, name), self._settings_under(model, name, settings)
            with under(chosen) as judged:
                found = self._judge(judged, part, options, together)
            prefix = f"{name}." if len(rows) > 1 else ""
            metrics.update({f"{prefix}{output}": values for output, values in found.metrics.items()})
            return found.predictions, {}

        found, _ = predict_each(table, rows, judge)
        return EvaluationResult(metrics, found)

    def _judge(
        self, model: Model, table: pd.DataFrame, settings: Generation, group: Alone | None = None
    ) -> EvaluationResult:
        together, objective = group or Alone(), self._objective()
        judged = model.labelled(table)
        losses = objective.measure(model, objective.store(model, table.iloc[judged]), group=together)
        raws = predictions(together, table, lambda some: predict_rows(model, some, settings))
        right = judged[objective.right(model, table.iloc[judged])]
        measured = measure(model.outputs, table.iloc[right], {name: raw.take(right) for name, raw in raws.items()})
        metrics = {name: {**measured.get(name, {}), **values} for name, values in losses.items()}
        return EvaluationResult(metrics, prediction_table(model.outputs, raws, table.index))

    def _objective(self) -> Objective:
        """Return what is learned; it may ask other runs."""
        objective: Objective = self.config.trainer.build()
        objective.open_run = self._judge_in
        return objective

    def _judge_in(self, directory: str) -> Judge:
        """Return the trained model of another run, to judge answers."""
        opened = type(self).load(directory, device=self.device)  # type: ignore[attr-defined]
        model = opened._ready()
        return Judge(model.inputs, model.outputs, opened.predict)

    def _predicting(self, settings: Generation, adapter: str | None = None) -> Predicting:
        """Return what predicts in other processes."""
        if self._directory is None and self.config.objective.trains:
            self._ready()  # says what is missing
        return Predicting(self._directory, self.document.data, settings, self.device, adapter or self._in_use)

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
