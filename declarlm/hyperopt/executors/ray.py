"""Trials side by side in processes of Ray, on this machine or on a cluster: pip install "declarlm[tune]"."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.backends.cluster import import_ray, own_umask, started
from declarlm.core import ConfigError, DeclarlmError, Problem, param
from declarlm.hyperopt.executors.base import Executor, executors, why_stopped
from declarlm.hyperopt.trial import Report, Task

if TYPE_CHECKING:
    from declarlm.hyperopt.sweep import Sweep
    from declarlm.hyperopt.trial import Launch, Trial

DIED = "its process died: killed, or out of memory"


@executors.register("ray")
class Ray(Executor):
    """Run trials side by side in processes of Ray, on this machine or on the cluster at ``address``.

    Only numbers and paths go through Ray: a trial's rows, weights and checkpoints stay in files, which all machines of
    a cluster must see under the same paths.
    """

    side_by_side = True

    class Config(Executor.Config):
        cpu_resources_per_trial: float = param("CPUs of a trial; its threads follow from them.", default=1.0, above=0)
        gpu_resources_per_trial: float = param("GPUs of a trial; .5 puts two on one.", default=0.0, min=0)
        address: str | None = param(
            "Address of a running cluster; null starts Ray on this machine, for the time of the sweep.", default=None
        )

    config: Config

    def run(self, sweep: Sweep, launch: Launch) -> None:
        ray = import_ray("hyperopt.executor", "executor: inline")
        with started(ray, self.config.address) as scratch:
            tuner = ray.tune.Tuner(
                self._trainable(ray, launch),
                tune_config=ray.tune.TuneConfig(
                    search_alg=_searcher(ray, sweep),
                    scheduler=_scheduler(ray, sweep),
                    num_samples=-1,
                    max_concurrent_trials=self._room(ray),
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=ray.tune.RunConfig(
                    storage_path=str(scratch / "tune"),
                    name="sweep",
                    verbose=0,
                    failure_config=ray.tune.FailureConfig(max_failures=0),
                    checkpoint_config=ray.tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                ),
            )
            tuner.fit()

    def _trainable(self, ray: Any, launch: Launch) -> Any:
        """Return what Ray runs in its processes, with what each of them may use."""
        given = ray.tune.with_parameters(_make_trainable(ray), launch=launch, here=Path.cwd(), mask=own_umask())
        resources = {"cpu": self.config.cpu_resources_per_trial, "gpu": self.config.gpu_resources_per_trial}
        return ray.tune.with_resources(given, resources)

    def _room(self, ray: Any) -> int:
        """Return how many trials run at a time: as many as there is room for, and not more than was asked for."""
        there = ray.cluster_resources()
        needed = {"CPU": self.config.cpu_resources_per_trial, "GPU": self.config.gpu_resources_per_trial}
        room = min(int(there.get(name, 0) / amount) for name, amount in needed.items() if amount)
        if not room:
            wanted = ", ".join(f"{amount:g} {name}" for name, amount in needed.items() if amount)
            found = f"a trial needs {wanted}, and there are {there.get('CPU', 0):g} CPU, {there.get('GPU', 0):g} GPU"
            raise ConfigError("config", [Problem("hyperopt.executor", found)])
        asked = self.config.max_concurrent_trials
        return room if asked == "auto" else min(room, asked)


def _make_trainable(ray: Any) -> Any:
    """Return the class that Ray makes one object of in each of its processes; it runs one trial after another."""

    class DeclarlmTrial(ray.tune.Trainable):  # type: ignore[misc]
        _launch: Launch

        def setup(self, config: Mapping[str, Any], launch: Launch, here: Path, mask: int) -> None:
            os.umask(mask)  # Ray was started with a stricter one, which is not meant for runs
            self._launch, self._here = launch, here
            self._begin(config)

        def _begin(self, config: Mapping[str, Any]) -> None:
            os.chdir(self._here)  # so that relative paths mean what they mean to who began the sweep
            self._reports: Any = self._launch(Task(**config["task"]))

        def step(self) -> dict[str, Any]:
            try:
                report = next(self._reports)
            except DeclarlmError as error:
                return {"failure": str(error), "done": True}
            except Exception as error:  # noqa: BLE001  # whatever a plugin raises, the driver must hear of it
                return {"failure": f"{type(error).__name__}: {error}\n{traceback.format_exc()}", "done": True}
            return {"report": vars(report), "done": report.is_final or report.pauses}

        def reset_config(self, config: Mapping[str, Any]) -> bool:
            self.cleanup()
            self._begin(config)
            return True

        def cleanup(self) -> None:
            self._reports.close()

    return DeclarlmTrial


class Blank:
    """Something that Ray writes to disk as if it were empty: a sweep goes on from its ledger alone."""

    _sweep: Sweep

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, *_: Any) -> None:
        pass

    def restore(self, *_: Any) -> None:
        pass


def _searcher(ray: Any, sweep: Sweep) -> Any:
    """Return what Ray asks for trials."""

    class Asking(Blank, ray.tune.search.Searcher):  # type: ignore[misc]
        def suggest(self, trial_id: str) -> Any:
            trial = self._sweep.next()
            if trial is None:
                return self.FINISHED if self._sweep.is_exhausted else None
            return {"number": trial.number, "task": vars(self._sweep.task(trial))}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass  # The scheduler hears of the end, with the trial's number.

    asking = Asking(metric="value", mode="max")
    asking._sweep = sweep
    return asking


def _scheduler(ray: Any, sweep: Sweep) -> Any:
    """Return what Ray tells of results, and asks whether a trial goes on."""

    class Judging(Blank, ray.tune.schedulers.FIFOScheduler):  # type: ignore[misc]
        def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
            if "failure" in result:
                return str(self.STOP)
            goes_on = self._sweep.judge(self._ours(trial), _report(result))
            return str(self.CONTINUE if goes_on else self.STOP)

        def on_trial_complete(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
            ours = self._ours(trial)
            if "failure" in result:
                self._sweep.end(ours, "failed", message=result["failure"])
            elif (report := _report(result)).is_final or report.pauses:
                self._sweep.judge(ours, report)
            elif ours.state == "running":
                self._sweep.end(ours, "stopped", message=why_stopped(self._sweep))

        def on_trial_error(self, controller: Any, trial: Any) -> None:
            self._sweep.end(self._ours(trial), "failed", message=DIED)

        def _ours(self, trial: Any) -> Trial:
            return self._sweep.trials[int(trial.config["number"])]

    judging: Any = Judging()
    judging._sweep = sweep
    return judging


def _report(result: Mapping[str, Any]) -> Report:
    """Return the report in a result, which Ray has made flat."""
    mark = "report/"
    return Report(**{key.removeprefix(mark): value for key, value in result.items() if key.startswith(mark)})
