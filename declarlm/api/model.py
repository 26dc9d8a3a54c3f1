"""DeclarLM: train, predict, evaluate, save, load. The main path, each verb on one screen."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from declarlm.api.comparing import Compares
from declarlm.api.folds import train_each
from declarlm.api.result import TrainResult
from declarlm.api.spreading import Training
from declarlm.api.training import Work, begin_from, conclude, fit, start_of
from declarlm.config import LlmConfig, ModelConfig, completed, read_written
from declarlm.core import ConfigError, DataError, ModelError, Problem, RunError
from declarlm.core.device import check_device, find_device
from declarlm.core.files import atomic_folder
from declarlm.data.parts import read_parts
from declarlm.data.split import back_test, k_folds
from declarlm.data.tables import read_table
from declarlm.planning.preview import Previews, preview_rows
from declarlm.run import Run, create_run, open_run, resume_run
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.api.sweeping import HyperoptResult
    from declarlm.backends import Seat
    from declarlm.data.parts import Parts
    from declarlm.hyperopt.sweep import Watcher
    from declarlm.models.base import Model
    from declarlm.models.llm import Llm
    from declarlm.training.progress import Progress
    from declarlm.training.workload import Evaluation


class DeclarLM(Compares):
    """A model described by a config.

    Args:
        config: Path of a YAML file, YAML text, or a dict.
        overrides: Values by dotted path (``{"adapter.r": 8}``), or ``path=value`` texts.
        device: ``cpu``, ``cuda`` or ``cuda:1``; by default a GPU if there is one.

    Attributes:
        config: The config, valid and complete.
        written: The config as it was written, in today's spelling, overridden.
        document: The same, complete.

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
        self.written = read_written(config, overrides)
        self.document = completed(self.written)
        self.config = ModelConfig.load(self.document.data, source=self.document, problems=self.document.problems)
        check_device(device)
        self.device = device
        self._given = self.document.text or cast(Mapping[str, Any], config)
        self._model: Model | None = None
        self._loaded_from: Path | None = None  # the run that a training goes on from
        self._directory: Path | None = None  # the run that the model is, or will be, loaded from

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

        A model that was loaded from a run goes on from its weights, with its labels and scales, and a new optimizer.

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
        steps = self.steps(
            dataset,
            validation=validation,
            test=test,
            output=output,
            name=name,
            resume=resume,
            progress=progress,
        )
        while True:
            try:
                next(steps)  # The trainer shows and saves each evaluation; nothing is to be decided here.
            except StopIteration as end:
                result: TrainResult = end.value
                return result

    def steps(
        self,
        dataset: Any,
        *,
        validation: Any = None,
        test: Any = None,
        output: str | Path = "runs",
        name: str | None = None,
        resume: str | Path | None = None,
        origin: Path | None = None,
        progress: Progress | None = None,
        seat: Seat | None = None,
    ) -> Generator[Evaluation, None, TrainResult]:
        """Train as ``train`` does, yield after each evaluation, and return what ``train`` returns.

        Who stops asking for more, and closes the generator, leaves a run that can go on. ``origin`` is the directory
        of a run of the same rows and shapes that a new one starts from, whatever the values of its trainer. A process
        with a ``seat`` trains together with others in the run ``resume``, which another one has opened.
        """
        model, objective = self.config.build(), self._objective()
        parts = read_parts(
            *(dataset, validation, test),
            preprocessing=self.config.preprocessing,
            features=[*model.inputs, *model.outputs, *objective.columns(model)],
            seed=self.config.seed,
        )
        backend = self.config.backend.build()
        with self._placed(), self._run(parts, resume, Path(output), name or "run", seat) as run:
            if seat is None and not backend.is_here:
                # What is wrong with the rows shows before any process is started.
                model.start = start_of(run)
                model.learn(parts.tables.train, *parts.tables.held_out)
                objective.learn(model, parts.tables.train, *parts.tables.held_out)
                rows = {"dataset": dataset, "validation": validation, "test": test}
                metrics = yield from backend.train(Training(self.document.data, rows, run.directory, origin), progress)
            else:
                group = Alone() if seat is None else seat.group
                device, predict = self._device, self._predict_raw
                work = Work(self.config, model, objective, parts, run, device, predict, progress, origin, group)
                yield from fit(work)
                self._model = model
                metrics = conclude(work, lambda table: self._evaluate(table, group=group).metrics)
        self._directory = run.directory
        self._loaded_from = self._loaded_from and run.directory
        return TrainResult(run.directory, metrics, run.history(), self)

    @contextmanager
    def _run(self, parts: Parts, resume: Any, output: Path, name: str, seat: Seat | None) -> Iterator[Run]:
        """Have the run of a training open for the length of the block."""
        if seat is not None:
            yield Run(Path(resume))  # Who leads has opened it.
            return
        with resume_run(Path(resume)) if resume else create_run(output, name) as run:
            if resume:
                run.check_config(self.config.dump())
                run.check_sources(parts.sources)
            else:
                run.write_config(self._given, self.config.dump())
                if self._loaded_from is not None and self.config.objective.trains:
                    begin_from(run, open_run(self._loaded_from))
            yield run

    def hyperopt(
        self,
        dataset: Any,
        *,
        validation: Any = None,
        test: Any = None,
        output: str | Path = "runs",
        name: str | None = None,
        resume: str | Path | None = None,
        watcher: Watcher | None = None,
    ) -> HyperoptResult:
        """Search the best values of parameters, as the section ``hyperopt`` says; this model itself stays untrained.

        Args:
            dataset: As for ``train``.
            validation: Rows on which trials are compared; by default a part of ``dataset``.
            test: As for ``train``.
            output: Folder in which the sweep gets a folder of its own.
            name: Name of that folder, a number is added if it is taken.
            resume: Folder of a sweep that was interrupted, to go on with it.
            watcher: Who looks on while it runs.

        Raises:
            ConfigError: If there is no section ``hyperopt``, or a sample is no valid config.
            DataError: If the dataset does not hold what the config says; nothing is left behind then.
            RunError: If the sweep is interrupted or cannot be resumed.
            SweepError: If no trial has a result.
        """
        from declarlm.api.sweeping import begin_sweep, resume_sweep

        rows = {"dataset": dataset, "validation": validation, "test": test}
        if resume is not None:
            return resume_sweep(resume, **rows, device=self.device, watcher=watcher)
        return begin_sweep(self, rows, output=Path(output), name=name or "sweep", watcher=watcher)

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
        return train_each(self, parts, output=Path(output), name=name)

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
        return train_each(self, back_test(table, column, windows), output=Path(output), name=name)

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
    def load(
        cls, directory: str | Path, *, device: str | None = None, backend: str | Mapping[str, Any] = "local"
    ) -> Self:
        """Return the model of a run directory.

        Args:
            directory: The run directory.
            device: As for ``DeclarLM``.
            backend: Where it predicts, wherever it was trained: a section ``backend``, or the name of one.

        Raises:
            RunError: If there is none, or a part of it is missing or was changed.
        """
        run = open_run(Path(directory))
        run.verify()
        where = [f"backend={backend}"] if isinstance(backend, str) else {"backend": backend}
        loaded = cls(run.directory / "config.resolved.yaml", overrides=where, device=device)
        loaded._directory = loaded._loaded_from = run.directory
        if loaded.config.backend.plugin.is_here:
            loaded._ready()
        return loaded

    def _ready(self, table: pd.DataFrame | None = None) -> Model:
        """Return the model, making one that needs no training on first use."""
        if self._model is None and self._directory is not None:
            run, model = Run(self._directory), self.config.build()
            self._model = model.restore(run.model, run.read("features"), device=self._device())
        if self._model is None:
            if (
                (table is None and not self.adapters)
                or self.config.objective.trains
                or not isinstance(self.config, LlmConfig)
            ):
                raise RunError("the model is not trained yet; call train, or load a run with DeclarLM.load")
            with self._placed():
                llm = cast("Llm", self.config.build())
                llm.zero_shot([] if table is None else list(map(str, table.columns)))
                self._model = llm.build(total_steps=0, seed=self.config.seed, device=self._device())
        return self._model

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
        except (DataError, ModelError, RunError) as error:
            if error.path is not None:
                (problem,) = self.document.located([Problem(error.path, str(error))])
                error.args, error.path = (f"{self.document.place(problem)}: {problem}",), None
            raise
