"""Trials in processes of Ray: the same as in one process, whatever happens to one, and closed to everybody else."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import ray

from declarlm import ConfigError, DeclarLM
from declarlm.hyperopt.section import Hyperopt
from declarlm.hyperopt.sweep import Rules, Sweep
from declarlm.hyperopt.trial import Report, Task

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not see the tests

SECTION: dict[str, Any] = {
    "parameters": {
        "x": {"space": "uniform", "lower": 0.0, "upper": 1.0},
        "c": {"space": "choice", "categories": [1, 2, 3]},
    },
}


def launch(task: Task) -> Iterator[Report]:
    """A trial that trains nothing: five evaluations that approach the value of x."""
    values, directory = task.values, task.directory
    if values.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if values.get("raise"):
        raise ArithmeticError("no such number")
    directory.mkdir(parents=True)
    (directory / "process").write_text(f"{os.getpid()} {Path.cwd()} {os.environ.get('OMP_NUM_THREADS')}")
    for number in range(1, 6):
        yield Report(number, number, 5, float(number), 0.0, values.get("x", 0.5) * (1 - 0.5**number))
    yield Report(6, 5, 5, 5.0, 0.0, values.get("x", 0.5), is_final=True)


def run(folder: Path, section: dict[str, Any], watcher: Any = None) -> Sweep:
    folder.mkdir(parents=True, exist_ok=True)
    loaded = Hyperopt.load({"metric": "accuracy", **section})
    rules = Rules("accuracy", 1, 7, complete=dict, problems=lambda _: [])
    sweep = Sweep(folder, loaded, rules, watcher)
    loaded.executor.build().run(sweep, launch)
    return sweep


def told(sweep: Sweep) -> list[tuple[Any, ...]]:
    return [(trial.values, trial.state, trial.value, len(trial.reports)) for trial in sweep.trials]


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_one_trial_at_a_time_is_the_same_sweep_on_ray_and_inline(tmp_path, search):
    scheduler = {"type": "asha", "reduction_factor": 2}
    search_alg = {"type": search, **({"n_startup_trials": 3} if search == "tpe" else {})}
    executor = {"num_samples": 12, "scheduler": scheduler, "max_concurrent_trials": 1}
    given = {**SECTION, "search_alg": search_alg}
    on_ray = run(tmp_path / "ray", {**given, "executor": {"type": "ray", **executor}})
    inline = run(tmp_path / "inline", {**given, "executor": {"type": "inline", **executor}})
    assert told(on_ray) == told(inline)
    assert {trial.state for trial in inline.trials} == {"finished", "stopped"}
    assert len(on_ray.trials) == 12
    processes = {path.read_text() for path in (tmp_path / "ray").glob("trials/*/process")}
    assert processes == {next(iter(processes))}, "one actor runs all trials"
    assert next(iter(processes)).split()[1:] == [str(Path.cwd()), "1"]
    modes = [next((tmp_path / name).glob("trials/*/process")).stat().st_mode for name in ("ray", "inline")]
    assert modes[0] == modes[1]


class Sockets:
    """A watcher that remembers where the processes of Ray listen."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self.modes: set[int] = set()

    def watching(self) -> Any:
        return nullcontext()

    def show(self, _: Sweep) -> None:
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            try:
                found = process.net_connections("inet")
            except psutil.Error:
                continue
            self.addresses |= {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}
        for folder in Path(os.environ.get("TMPDIR", "/tmp")).glob("declarlm-*"):  # noqa: S108
            self.modes.add(folder.stat().st_mode & 0o077)


def test_a_killed_worker_and_an_error_leave_the_other_trials_and_ray_keeps_to_itself(tmp_path):
    parameters = {
        "kill": {"space": "grid_search", "values": [False, False, True, False, False, False]},
        "raise": {"space": "choice", "categories": [False]},
    }
    parameters["kill"]["values"] = [0, "", 1, None, 0.0, []]  # what is true kills its process
    section = {"parameters": parameters, "executor": {"type": "ray"}}
    sockets = Sockets()
    sweep = run(tmp_path / "killed", section, sockets)
    assert [trial.state for trial in sweep.trials] == ["finished", "finished", "failed", *["finished"] * 3]
    assert sweep.trials[2].message == "its process died: killed, or out of memory"
    assert sockets.addresses
    assert sockets.addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert sockets.modes == {0}
    token = Path.home() / ".ray" / "auth_token"
    assert not token.exists() or token.stat().st_mode & 0o077 == 0
    assert not ray.is_initialized()

    parameters = {"raise": {"space": "grid_search", "values": [0, 1, None]}}
    sweep = run(tmp_path / "raised", {"parameters": parameters, "executor": {"type": "ray"}})
    assert [trial.state for trial in sweep.trials] == ["finished", "failed", "finished"]
    assert sweep.trials[1].message.startswith("ArithmeticError: no such number\nTraceback")


def test_a_trial_that_wants_more_than_there_is_says_so(tmp_path):
    executor = {"type": "ray", "gpu_resources_per_trial": 64, "max_concurrent_trials": 2}
    section = {**SECTION, "executor": executor}
    with pytest.raises(ConfigError, match=r"hyperopt\.executor: a trial needs 1 CPU, 64 GPU, and there are"):
        run(tmp_path, section)


def test_a_session_of_ray_that_was_there_is_used_and_left(tmp_path):
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        sweep = run(tmp_path, {**SECTION, "executor": {"type": "ray", "num_samples": 2}})
        assert [trial.state for trial in sweep.trials] == ["finished", "finished"]
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_model_is_searched_on_ray_as_inline(tmp_path, monkeypatch):
    rows = pd.DataFrame({"text": [f"say {color} now" for color in ("red", "blue") * 12], "color": ["red", "blue"] * 12})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.chdir(tmp_path)
    config = {
        "input_features": [{"name": "text", "type": "text", "encoder": "embed"}],
        "output_features": [{"name": "color", "type": "category"}],
        "trainer": {"epochs": 2, "batch_size": 4},
        "hyperopt": {
            "metric": "loss",
            "parameters": {"trainer.learning_rate": {"space": "loguniform", "lower": 1e-4, "upper": 1e-1}},
            "executor": {"num_samples": 4},
        },
    }
    inline = DeclarLM(config).hyperopt("rows.csv", name="inline")
    on_ray = DeclarLM(config, overrides={"hyperopt.executor.type": "ray"}).hyperopt("rows.csv", name="ray")
    columns = ["number", "state", "value", "trainer.learning_rate"]
    pd.testing.assert_frame_equal(on_ray.trials[columns], inline.trials[columns])
    assert on_ray.best.metrics == inline.best.metrics
    assert on_ray.command == "declarlm train -c runs/ray/best.yaml --dataset rows.csv"
    in_memory = DeclarLM(config, overrides={"hyperopt.executor.type": "ray"}).hyperopt(rows, name="memory")
    pd.testing.assert_frame_equal(in_memory.trials[columns], inline.trials[columns])
