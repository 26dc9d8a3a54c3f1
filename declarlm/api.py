"""DeclarLM: train, predict, evaluate, save, load. The main path, each verb on one screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Self, cast

from declarlm.config import LlmConfig, ModelConfig, read_config
from declarlm.core import ConfigError, DataError, Problem, RunError
from declarlm.core.device import check_device, find_device
from declarlm.core.files import atomic_folder
from declarlm.data.parts import Parts, read_parts
from declarlm.data.split import Tables, back_test, k_folds
from declarlm.data.tables import read_table
from declarlm.data.write import check_target, write_table
from declarlm.evaluation import EvaluationResult, Validation, mean_losses, measure
from declarlm.inference.generation import Generation
from declarlm.inference.predictor import predict_rows, predict_table, prediction_table
from declarlm.objectives import Supervised
from declarlm.planning.preview import Previews, preview_rows
from declarlm.run import Card, Run, create_run, open_run, resume_run
from declarlm.training import Trainer, plan_steps
from declarlm.training.progress import tell

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model
    from declarlm.models.llm import Llm
    from declarlm.training.progress import Progress

Metrics = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training left.

    Attributes:
        directory: The run directory.
        metrics: Value by split, output feature and metric.
        history: One row for each evaluation during training.
        model: The trained model, ready to predict.
    """

    directory: Path
    metrics: Metrics
    history: pd.DataFrame
    model: DeclarLM


class DeclarLM:
    """A model described by a config.

    Args:
        config: Path of a YAML file, YAML text, or a dict.
        overrides: Values by dotted path (``{"adapter.r": 8}``), or ``path=value`` texts.
        device: ``cpu``, ``cuda`` or ``cuda:1``; by default a GPU if there is one.

    Attributes:
        config: The config, valid and complete.
        document: The config as it was written, with what was understood of old spellings.

    Raises:
        ConfigError: With everything that is wrong with the config.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        *,
        overrides: Mapping[str, Any] | Iterable[str] | None = None,
        device: str | None = None,
    ) -> None:
        self.document = read_config(config, overrides)
        self.config = ModelConfig.load(self.document.data, source=self.document, problems=self.document.problems)
        check_device(device)
        self.device = device
        self._given = self.document.text or cast(Mapping[str, Any], config)
        self._model: Model | None = None

    def train(
        self,
        dataset: Any,
        *,
        validation: Any = None,
        test: Any = None,
        output: str | Path = "runs",
        name: str | None = None,
        resume: str | Path | None = None,
        progress: Progress | None = None,
    ) -> TrainResult:
        """Train on a dataset and keep everything about it in a run directory.

        Args:
            dataset: DataFrame, dict of lists, list of dicts, Arrow table, path, glob or ``hf://``.
            validation: Rows that decide which weights are best; by default a part of ``dataset``.
            test: Rows that judge the result; by default a part of ``dataset``, none if ``validation`` is given.
            output: Folder of run directories.
            name: Name of this run's directory, a number is added if it is taken.
            resume: Run directory of a training that was interrupted, to go on with it.
            progress: Where steps and evaluations are shown.

        Raises:
            DataError: If the dataset does not hold what the config says; nothing is left behind then.
            ModelError: If the base model cannot be used.
            RunError: If training diverges, is interrupted, or cannot be resumed.
        """
        model = self.config.build()
        parts = read_parts(
            *(dataset, validation, test),
            preprocessing=self.config.preprocessing,
            features=[*model.inputs, *model.outputs],
            seed=self.config.seed,
        )
        opened = resume_run(Path(resume)) if resume else create_run(Path(output), name or "run")
        with self._placed(), opened as run:
            if resume:
                run.check_config(self.config.dump())
                run.check_sources(parts.sources)
            self._fit(run, model, parts, progress=progress)
            self._model = model
            metrics = self._conclude(run, parts)
        return TrainResult(run.directory, metrics, run.history(), self)

    def _fit(self, run: Run, model: Model, parts: Parts, *, progress: Progress | None) -> None:
        """Take the model from sections to trained weights; each line is one arrow of the data flow."""
        config, tables = self.config.trainer, parts.tables
        model.learn(tables.train, *(table for table in (tables.validation, tables.test) if len(table)))
        model.open(tables.train, seed=self.config.seed, folder=run.directory / "base")
        device = self._device()
        for table in (tables.validation, tables.test):
            model.check_rows(table)
        objective = config.build()
        store = objective.store(model, tables.train)
        model.learn_lengths(store)
        held_out = objective.store(model, tables.validation) if len(tables.validation) else store
        judge = Validation(model, held_out, tables.validation, config, self._predict_raw, training=store)
        steps = plan_steps(config, len(store)).total if objective.trains else 0
        model.build(total_steps=steps, seed=self.config.seed, device=device)
        overlong = model.overlong(store, len(tables.train))
        if len(tables.validation):
            overlong += [f"validation: {remark}" for remark in model.overlong(held_out, len(tables.validation))]
        if len(tables.test):
            tested = objective.store(model, tables.test)
            overlong += [f"test: {remark}" for remark in model.overlong(tested, len(tables.test))]
        remarks = [*parts.remarks(), *overlong, *model.remarks(), *judge.remarks]
        tell(remarks if progress is not None else overlong, progress)
        is_new = run.status.state == "created"
        if is_new:
            run.write_config(self._given, self.config.dump())
            run.write_environment(device)
            run.write_data({**parts.record(), "remarks": remarks})
            run.write_features(model.states())
        if not objective.trains:
            return
        trainer = Trainer(
            config,
            model.module,
            Supervised(model, store),
            parameter_groups=model.parameter_groups(config.learning_rate),
            evaluate=judge if len(tables.validation) else None,
            goal=judge.goal,
            metric=judge.metric,
            directory=run.directory,
            seed=self.config.seed,
            device=device,
            hooks=model.hooks(),
            progress=progress,
        )
        if is_new:
            trainer.fire_drill(judge.rehearse if trainer.evaluate is not None else None)
        begun = not is_new or bool(trainer.checkpoints.steps())
        for _ in trainer.fit(resume=begun, begun=lambda: run.mark("training")):
            pass  # The trainer shows and saves each evaluation; nothing is to be decided here.

    def _conclude(self, run: Run, parts: Parts) -> Metrics:
        """Save the model, judge it on the rows that it was not trained on, and write both down."""
        model = self._ready()
        with atomic_folder(run.model) as folder:
            model.save(folder)
        rmtree(run.directory / "base", ignore_errors=True)
        tables = {"validation": parts.tables.validation, "test": parts.tables.test}
        metrics = {split: self._evaluate(table).metrics for split, table in tables.items() if len(table)}
        run.write_results(metrics)
        run.write_card(self._card(run, parts, metrics))
        run.mark("finished")
        return metrics

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
        model = self._ready(table)
        predictions, remarks = predict_table(model, table, self._generation(generation))
        if output is not None:
            write_table(predictions, Path(output))
        tell(remarks, None)
        return predictions

    def evaluate(self, dataset: Any, *, generation: Mapping[str, Any] | None = None) -> EvaluationResult:
        """Return metrics and predictions on rows whose answers are known; ``generation`` is as for ``predict``.

        Raises:
            DataError: If a column is missing or a cell cannot be read.
            RunError: If the model must be trained first.
        """
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        self._ready(table)
        return self._evaluate(table, generation)

    def _evaluate(self, table: pd.DataFrame, generation: Mapping[str, Any] | None = None) -> EvaluationResult:
        model = self._ready(table)
        objective = self.config.trainer.build()
        judged = model.labelled(table)
        losses = mean_losses(model, objective.store(model, table.iloc[judged]))
        raws = predict_rows(model, table, self._generation(generation))
        measured = measure(model.outputs, table.iloc[judged], {name: raw.take(judged) for name, raw in raws.items()})
        metrics = {name: {**measured.get(name, {}), **values} for name, values in losses.items()}
        return EvaluationResult(metrics, prediction_table(model.outputs, raws, table.index))

    def preview(self, dataset: Any, rows: int = 3) -> Previews:
        """Return the first rows of a dataset as the model will read and learn them; no weights are loaded.

        Raises:
            DataError: If the dataset does not hold what the config says.
        """
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        with self._placed():
            return preview_rows(self._model or self.config.build(), table, rows, seed=self.config.seed)

    def cross_validate(
        self, dataset: Any, *, folds: int = 5, output: str | Path = "runs", name: str = "fold"
    ) -> pd.DataFrame:
        """Train once for each fold and return the test metrics, a row for each fold, columns ``<output>.<metric>``.

        The type of ``preprocessing.split`` makes the folds: plain, stratified, by group or by hash. This model itself
        stays untrained.

        Raises:
            ConfigError: If the split's type cannot make folds.
            DataError: If there are too few rows for so many folds.
        """
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        parts = k_folds(table, self.config.preprocessing.split, folds, self.config.seed)
        return self._train_each(parts, Path(output), name)

    def back_test(
        self, dataset: Any, column: str, *, windows: int = 3, output: str | Path = "runs", name: str = "window"
    ) -> pd.DataFrame:
        """Train on the past and test on what came next, for windows that roll forward by the dates in ``column``.

        Returns:
            The test metrics, a row for each window, the oldest first.

        Raises:
            DataError: If the column is missing, holds no dates, or too few different ones.
        """
        table = read_table(dataset, missing_values=self.config.preprocessing.missing_values)
        return self._train_each(back_test(table, column, windows), Path(output), name)

    def _train_each(self, parts: Iterator[Tables], output: Path, name: str) -> pd.DataFrame:
        import pandas as pd

        rows = []
        for number, part in enumerate(parts, 1):
            model = type(self)(self.config.dump(), device=self.device)
            held_out = part.validation if len(part.validation) else None
            run = model.train(part.train, validation=held_out, test=part.test, output=output, name=f"{name}_{number}")
            metrics = run.metrics["test"].items()
            rows.append({f"{out}.{metric}": value for out, values in metrics for metric, value in values.items()})
        return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name=name))

    def save(self, directory: str | Path) -> None:
        """Write the model, without the history of its training, so that ``load`` opens it."""
        model = self._ready()
        run = Run(Path(directory))
        with atomic_folder(run.model) as folder:
            model.save(folder)
        run.write_config(self._given, self.config.dump())
        run.write_features(model.states())
        run.mark("finished")

    @classmethod
    def load(cls, directory: str | Path, *, device: str | None = None) -> Self:
        """Return the model of a run directory.

        Raises:
            RunError: If there is none, or a part of it is missing or was changed.
        """
        run = open_run(Path(directory))
        run.verify()
        loaded = cls(run.directory / "config.resolved.yaml", device=device)
        model = loaded.config.build()
        model.restore(run.model, run.read("features"), device=loaded._device())
        loaded._model = model
        return loaded

    def _ready(self, table: pd.DataFrame | None = None) -> Model:
        """Return the model, making one that needs no training on first use."""
        if self._model is None:
            if table is None or self.config.objective.trains or not isinstance(self.config, LlmConfig):
                raise RunError("the model is not trained yet; call train, or load a run with DeclarLM.load")
            model = cast("Llm", self.config.build())
            model.zero_shot(list(map(str, table.columns)))
            self._model = model.build(total_steps=0, seed=self.config.seed, device=self._device())
        return self._model

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

    def _device(self) -> str:
        self.device = find_device(self.device)
        return self.device

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """Give file and line to what is found wrong with the config when the data is known."""
        try:
            yield
        except ConfigError as error:
            raise (ConfigError(self.document, error.problems) if error.source == "config" else error) from None

    def _card(self, run: Run, parts: Parts, metrics: Metrics) -> Card:
        return Card(
            name=run.name,
            base_model=self.config.base_model if isinstance(self.config, LlmConfig) else None,
            inputs=[feature.name for feature in self.config.input_features],
            outputs=[feature.name for feature in self.config.output_features],
            rows=parts.record()["rows"],
            metrics=metrics,
        )


def resume_training(
    directory: str | Path,
    *,
    dataset: Any = None,
    validation: Any = None,
    test: Any = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Go on with a training that was interrupted, on the same rows.

    Args:
        directory: The run directory.
        dataset: The same rows, if they are not where they were.
        validation: Likewise for a validation set of its own.
        test: Likewise for a test set of its own.
        device: As for ``DeclarLM``.
        progress: Where steps and evaluations are shown.

    Raises:
        DataError: If the rows cannot be found, or are others than those that training began with.
        RunError: If the directory is no run, or nothing is left to do in it.
    """
    run = open_run(Path(directory))
    run.check_resumable()
    sources = run.read("data")["sources"]
    given = {"dataset": dataset, "validation": validation, "test": test}
    for role, source in sources.items():
        if given[role] is None:
            if source["path"] is None:
                raise DataError(f"the {role} rows of {run.directory} were a table in memory; give them again")
            given[role] = source["path"]
    model = DeclarLM(run.directory / "config.resolved.yaml", device=device)
    return model.train(**given, resume=directory, progress=progress)
