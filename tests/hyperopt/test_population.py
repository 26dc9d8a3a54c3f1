"""Population based training of real models: weights pass from one trial to another, values change on the way."""

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from declarlm import ConfigError, DeclarLM
from declarlm.api import resume_sweep
from declarlm.core.files import read_json_lines
from declarlm.run import open_run
from declarlm.training.interrupts import StoppedError
from tests.hyperopt.test_sweep import Interrupt

DRAW = random.Random(0)
ROWS = pd.DataFrame([{"a": DRAW.gauss(0, 1), "b": DRAW.gauss(0, 1)} for _ in range(160)]).assign(
    label=lambda rows: ["high" if a > b else "low" for a, b in zip(rows.a, rows.b, strict=True)]
)
CONFIG: dict[str, Any] = {
    "input_features": [{"name": name, "type": "number"} for name in "ab"],
    "output_features": [{"name": "label", "type": "category"}],
    "trainer": {"epochs": 4, "batch_size": 16, "early_stop": -1},
    "hyperopt": {
        "parameters": {
            "trainer.learning_rate": {"space": "loguniform", "lower": 1e-5, "upper": 1e-1},
            "combiner.dropout": {"space": "uniform", "lower": 0.0, "upper": 0.3},
        },
        "executor": {"num_samples": 4, "scheduler": {"type": "pbt"}},
    },
}
COLUMNS = ["number", "state", "value", "trainer.learning_rate", "combiner.dropout"]


def sweep(output: Path, name: str, **more: Any) -> Any:
    return DeclarLM(CONFIG).hyperopt(ROWS, output=output, name=name, **more)


def moves(folder: Path) -> list[dict[str, Any]]:
    lines = read_json_lines(folder / "ledger.jsonl")
    return [move for line in lines if line["event"] == "generation" for move in line["moves"]]


def test_the_worst_trial_goes_on_with_the_weights_of_the_best(tmp_path):
    result = sweep(tmp_path, "sweep")
    assert list(result.trials.state) == ["finished"] * 4
    found = moves(result.directory)
    assert len(found) == 3, "one move in each of the three generations after the first"
    first = found[0]
    moved = result.directory / "trials" / f"trial_{first['number']:04d}_1"
    donor = result.directory / "trials" / f"trial_{first['donor']:04d}"
    config = yaml.safe_load((moved / "config.resolved.yaml").read_text())
    assert float(config["trainer"]["learning_rate"]) == first["values"]["trainer.learning_rate"]
    ours, theirs = (open_run(run).evaluations() for run in (moved, donor))
    assert ours[0] == theirs[0], "its past is that of the donor"
    assert [line["epoch"] for line in ours] == sorted(line["epoch"] for line in ours)
    finished = [row for _, row in result.trials.iterrows()]
    for row in finished:
        run = result.directory / row.directory
        assert [line["epoch"] for line in open_run(run).evaluations()] == [1.0, 2.0, 3.0, 4.0]
        assert open_run(run).status.state == "finished"
    assert result.value == result.trials.value.min()


def test_a_moved_trial_starts_from_the_weights_of_its_donor(tmp_path):
    model = DeclarLM({**CONFIG, "hyperopt": None})
    steps = model.steps(ROWS, output=tmp_path, name="donor")
    next(steps)
    steps.close()
    changed = DeclarLM({**CONFIG, "hyperopt": None}, overrides={"trainer.learning_rate": 1e-30})
    on = changed.steps(ROWS, output=tmp_path, name="moved", origin=tmp_path / "donor")
    next(on)
    on.close()
    saved = [sorted((tmp_path / name / "checkpoints").iterdir())[-1] for name in ("donor", "moved")]
    before, after = (load_file(folder / "weights.safetensors") for folder in saved)
    # A learning rate of almost nothing leaves the weights that were taken over as they were.
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert saved[1].name > saved[0].name


@pytest.mark.parametrize("after", [3, 8, 13, 17])
def test_a_population_that_is_interrupted_goes_on_as_if_it_had_not_been(tmp_path, after):
    whole = sweep(tmp_path, "whole")
    with pytest.raises(StoppedError):
        sweep(tmp_path, "cut", watcher=Interrupt(after))
    resumed = resume_sweep(tmp_path / "cut", dataset=ROWS)
    pd.testing.assert_frame_equal(resumed.trials[COLUMNS], whole.trials[COLUMNS])
    assert moves(resumed.directory) == moves(whole.directory)


@pytest.mark.slow
def test_a_population_on_ray_is_that_of_one_process(tmp_path):
    inline = sweep(tmp_path, "inline")
    overrides = {"hyperopt.executor.type": "ray", "hyperopt.executor.max_concurrent_trials": 2}
    on_ray = DeclarLM(CONFIG, overrides=overrides).hyperopt(ROWS, output=tmp_path, name="ray")
    pd.testing.assert_frame_equal(on_ray.trials[COLUMNS], inline.trials[COLUMNS])


def test_what_shapes_the_weights_cannot_change_under_way():
    parameters = {"combiner.output_size": {"space": "choice", "categories": [4, 8]}}
    config = {**CONFIG, "hyperopt": {**CONFIG["hyperopt"], "parameters": parameters}}
    with pytest.raises(ConfigError, match="cannot change in a training under way, as pbt does; leave it out, or write"):
        DeclarLM(config)
