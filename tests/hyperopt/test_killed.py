"""The process that leads a sweep is killed, at any moment: nothing is lost, nothing is done twice."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from declarlm.core.files import read_json_lines
from declarlm.run import open_run
from tests.processes import Commands, Forks

KILLS, TRIALS = 10, 8
DRAW = random.Random(5)
ROWS = pd.DataFrame([{"a": DRAW.gauss(0, 1), "b": DRAW.gauss(0, 1)} for _ in range(160)]).assign(
    label=lambda rows: ["high" if a > b else "low" for a, b in zip(rows.a, rows.b, strict=True)]
)
CONFIG: dict[str, Any] = {
    "input_features": [{"name": name, "type": "number"} for name in "ab"],
    "output_features": [{"name": "label", "type": "category"}],
    "trainer": {"epochs": 5, "batch_size": 16},
    "hyperopt": {
        "metric": "label.accuracy",
        "search_alg": {"type": "tpe", "n_startup_trials": 3},
        "parameters": {"trainer.learning_rate": {"space": "loguniform", "lower": 1e-4, "upper": 1e-1}},
        "executor": {"num_samples": TRIALS, "scheduler": {"type": "asha", "reduction_factor": 2}},
    },
}


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("cli") / "errors")
    yield forks
    forks.close()


def prepared(folder: Path, **executor: Any) -> list[object]:
    """Write config and rows, and return the command that begins the sweep ``folder/cut``."""
    config, rows = folder / "config.yaml", folder / "rows.csv"
    section = {**CONFIG["hyperopt"], "executor": {**CONFIG["hyperopt"]["executor"], **executor}}
    config.write_text(json.dumps({**CONFIG, "hyperopt": section}))
    ROWS.to_csv(rows, index=False)
    return ["hyperopt", "-c", config, "--dataset", rows, "--quiet", "--device", "cpu", "--output", folder, "--name"]


def killed_until_done(cli: Any, begin: list[object], sweep: Path, draw: random.Random, longest: float) -> int:
    """Kill the sweep at random moments, each time gone on with, then let it end; return the number of kills."""
    kills = 0
    while True:
        resumable = (sweep / "sweep.json").is_file()
        if not resumable and sweep.exists():
            import shutil

            shutil.rmtree(sweep)  # killed before the sweep had begun
        again = ["hyperopt", "--resume", sweep, "--quiet"]
        process = cli.start(*(again if resumable else [*begin, sweep.name]))
        if kills == KILLS:
            assert cli.wait(process) == 0, cli.errors.read_text()
            return kills
        time.sleep(draw.uniform(0.05, longest))
        os.kill(process, signal.SIGKILL)
        if cli.wait(process) == -signal.SIGKILL:
            kills += 1
        else:
            return kills  # it was done before it could be killed


def ended(sweep: Path) -> list[tuple[Any, ...]]:
    lines = [line for line in read_json_lines(sweep / "ledger.jsonl") if line["event"] == "end"]
    return sorted((line["number"], line["state"], line["value"]) for line in lines)


def check(sweep: Path, whole: Path) -> None:
    assert [number for number, *_ in ended(sweep)] == list(range(TRIALS))
    assert ended(sweep) == ended(whole)
    events = [line for line in read_json_lines(sweep / "ledger.jsonl") if line["event"] == "trial"]
    assert events == [line for line in read_json_lines(whole / "ledger.jsonl") if line["event"] == "trial"]
    assert sorted(path.name for path in (sweep / "trials").iterdir()) == [f"trial_{n:04d}" for n in range(TRIALS)]
    for number, state, _ in ended(sweep):
        run = open_run(sweep / "trials" / f"trial_{number:04d}")
        steps = [line["step"] for line in run.metrics() if line["kind"] == "evaluation"]
        assert steps == sorted(set(steps)), "no evaluation was made twice"
        assert run.status.state == state


def check_many_kills(cli: Any, begin: list[object], folder: Path, draw: random.Random, longest: float) -> None:
    """Kill sweeps ten times in all, and compare each with one that was left alone."""
    assert cli.run(*begin, "whole") == 0, cli.errors.read_text()
    kills, attempt = 0, 0
    while kills < KILLS:
        attempt += 1
        kills += killed_until_done(cli, begin, folder / f"cut{attempt}", draw, longest)
        check(folder / f"cut{attempt}", folder / "whole")


def test_a_sweep_that_is_killed_ten_times_ends_as_one_that_was_not(cli, tmp_path):
    check_many_kills(cli, prepared(tmp_path), tmp_path, random.Random(1), longest=0.8)


@pytest.mark.slow
def test_a_sweep_on_ray_whose_driver_is_killed_ten_times_loses_and_repeats_no_trial(tmp_path):
    commands = Commands(tmp_path / "errors")
    begin = prepared(tmp_path, type="ray", max_concurrent_trials=1)
    check_many_kills(commands, begin, tmp_path, random.Random(2), longest=16.0)
