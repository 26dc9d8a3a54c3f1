"""A training that was killed, stopped or damaged goes on as if nothing had happened; one that must not, does not."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from declarlm import DataError, DeclarLM, RunError
from declarlm.api import resume_training
from declarlm.core.errors import LockedError
from declarlm.core.files import lock, read_json_lines
from tests.processes import Commands, Forks

WORDS = [(color, animal) for color in ("red", "blue", "green", "black") for animal in ("cat", "dog", "bird", "fish")]
ROWS = pd.DataFrame([{"note": f"The {color} {animal} sat.", "color": color} for color, animal in WORDS * 3])
CONFIG: dict[str, Any] = {
    "input_features": [{"name": "note", "type": "text"}],
    "output_features": [{"name": "color", "type": "text"}],
    "adapter": {"type": "lora", "r": 4, "dropout": 0.2},
    "trainer": {"epochs": 4, "batch_size": 4, "learning_rate": 5e-3, "steps_per_checkpoint": 2},
    "generation": {"max_new_tokens": 2},
}
TOTAL = 36  # optimizer steps: 34 training rows, 4 at a time, 4 times


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("cli") / "errors")
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def whole(cli, stories, tmp_path_factory) -> SimpleNamespace:
    """A run from the command line without interruption, its config and its rows."""
    folder = tmp_path_factory.mktemp("whole")
    config, rows = folder / "colors.yaml", folder / "rows.jsonl"
    config.write_text(json.dumps({"base_model": stories, **CONFIG}))
    ROWS.to_json(rows, orient="records", lines=True)
    train = ["train", "-c", config, "--dataset", rows, "--quiet", "--device", "cpu", "--output"]
    assert cli.run(*train, folder, "--name", "run") == 0, cli.errors.read_text()
    return SimpleNamespace(run=folder / "run", rows=rows, train=train)


def steps_of(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_json_lines(run / "metrics.jsonl") if line["kind"] == "step"]


def kill_after(process: int, run: Path, steps: int, seconds: float, number: int = signal.SIGKILL) -> None:
    """Send a signal a moment after a run has logged some steps."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if (run / "metrics.jsonl").is_file() and len(steps_of(run)) >= steps:
            break
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(process, number)


def assert_same(run: Path, whole: Path) -> None:
    """The same adapter and metrics, to the last bit."""
    for name in ("model/adapter/adapter_model.safetensors", "results.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    # A step that was made twice was logged twice, alike.
    losses = {line["step"]: line["loss"] for line in steps_of(run)}
    assert losses == {line["step"]: line["loss"] for line in steps_of(whole)}
    assert len(losses) == TOTAL
    assert (run / "STATUS").read_text() == "finished\n"


@pytest.mark.parametrize("kind", ["forked", pytest.param("command", marks=pytest.mark.slow)])
def test_a_run_killed_twice_at_random_is_the_same_to_the_last_bit(cli, whole, tmp_path, kind):
    seed = random.randrange(10**6)
    print(f"random moments of seed {seed}")
    moments = random.Random(seed)
    first = moments.randrange(1, TOTAL // 2)
    second = moments.randrange(first + 2, TOTAL - 2)
    runner = cli if kind == "forked" else Commands(tmp_path / "errors")
    run = tmp_path / "run"
    process = runner.start(*whole.train, tmp_path, "--name", "run")
    kill_after(process, run, first, moments.uniform(0, 0.05))
    assert runner.wait(process) == -signal.SIGKILL
    assert (run / "STATUS").read_text() == "training\n"
    process = runner.start("resume", run, "--quiet", "--device", "cpu")
    kill_after(process, run, second, moments.uniform(0, 0.05))
    assert runner.wait(process) == -signal.SIGKILL
    assert runner.run("resume", run, "--quiet", "--device", "cpu") == 0, runner.errors.read_text()
    assert_same(run, whole.run)
    runner.close() if kind == "command" else None


def test_a_stopped_run_says_how_to_go_on_and_is_the_same(cli, whole, tmp_path):
    process = cli.start(*whole.train, tmp_path, "--name", "run")
    kill_after(process, tmp_path / "run", 5, 0.0, signal.SIGTERM)
    assert cli.wait(process) == 130
    assert f"declarlm resume {tmp_path / 'run'}" in cli.errors.read_text()
    assert (tmp_path / "run" / "STATUS").read_text().startswith("interrupted\n")
    assert cli.run("resume", tmp_path / "run", "--quiet", "--device", "cpu") == 0
    assert_same(tmp_path / "run", whole.run)


def test_a_second_process_is_kept_out_of_a_run(cli, whole, tmp_path):
    process = cli.start(*whole.train, tmp_path, "--name", "run")
    kill_after(process, tmp_path / "run", 1, 0.0, signal.SIGSTOP)
    assert cli.run("resume", tmp_path / "run") == 7
    expected = f"{tmp_path / 'run'} is in use by process {process}; wait until it ends, or stop it"
    assert expected in cli.errors.read_text()
    os.kill(process, signal.SIGCONT)
    assert cli.wait(process) == 0
    assert_same(tmp_path / "run", whole.run)


@pytest.fixture
def copied(whole, tmp_path) -> SimpleNamespace:
    """A copy of the finished run, with its rows."""
    shutil.copytree(whole.run, tmp_path / "copy")
    return SimpleNamespace(run=tmp_path / "copy", rows=whole.rows, whole=whole.run)


def set_back(run: Path, state: str = "training") -> None:
    """Make a finished run look as if it had been killed at its end."""
    shutil.rmtree(run / "model")
    for name in ("results.json", "README.md"):
        (run / name).unlink()
    (run / "STATUS").write_text(f"{state}\n")


@pytest.mark.parametrize("state", ["training", "interrupted", "failed"])
def test_a_run_killed_after_its_last_step_is_concluded(copied, state):
    set_back(copied.run, state)
    result = resume_training(copied.run, device="cpu")
    assert_same(copied.run, copied.whole)
    assert json.loads((copied.run / "results.json").read_text())["test"].keys() == result.metrics["test"].keys()


def test_a_damaged_checkpoint_is_passed_over(copied):
    set_back(copied.run)
    newest = max((copied.run / "checkpoints").iterdir())
    weights = newest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    notes: list[str] = []
    progress = SimpleNamespace(step=print, evaluation=print, note=notes.append, about=print, pause=list, close=list)
    resume_training(copied.run, device="cpu", progress=progress)
    assert f"checkpoint {newest} is damaged and was passed over; an older one is tried" in notes
    assert_same(copied.run, copied.whole)


def test_a_run_without_a_whole_checkpoint_is_never_started_afresh(copied):
    set_back(copied.run)
    for checkpoint in (copied.run / "checkpoints").iterdir():
        (checkpoint / "state.json").write_text("{}")
    count = len(list((copied.run / "checkpoints").iterdir()))
    with pytest.raises(RunError) as caught:
        resume_training(copied.run, device="cpu")
    assert str(caught.value) == (
        f"{copied.run / 'checkpoints'} cannot be resumed: none of its {count} checkpoints is whole; "
        "train again under a new name"
    )


def test_a_finished_run_has_nothing_to_resume(copied):
    with pytest.raises(RunError) as caught:
        resume_training(copied.run)
    assert str(caught.value) == f"{copied.run} is finished; there is nothing to resume"
    with pytest.raises(RunError) as caught:
        DeclarLM(copied.run / "config.resolved.yaml").train(copied.rows, resume=copied.run)
    assert str(caught.value) == f"{copied.run} is finished; there is nothing to resume"
    assert (copied.run / "STATUS").read_text() == "finished\n"
    set_back(copied.run, "created")
    (copied.run / "data.json").unlink()
    with pytest.raises(RunError) as caught:
        resume_training(copied.run)
    assert str(caught.value) == f"{copied.run} stopped before its training began; there is nothing to resume"


@pytest.mark.parametrize("moment", ["_undone", "_save_and_reload"])
def test_a_run_killed_in_the_fire_drill_is_the_same(whole, tmp_path, moment):
    """Before its first checkpoint; the process kills itself, since the moment is short."""
    code = (
        "import os, declarlm.training.fire_drill as drill; from declarlm.cli import main\n"
        f"drill.{moment} = lambda *_: os.kill(os.getpid(), 9)\nmain()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, whole.train), str(tmp_path), "--name", "run"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    run = tmp_path / "run"
    assert (run / "STATUS").read_text() == "created\n"
    resume_training(run, device="cpu")
    assert_same(run, whole.run)
    assert not list(run.glob(".*.tmp"))


def test_a_run_killed_just_after_its_first_checkpoint_goes_on(whole, tmp_path):
    code = (
        "import os; from declarlm.run import Run; from declarlm.cli import main\n"
        "mark = Run.mark\n"
        "Run.mark = lambda run, state, *more: os.kill(os.getpid(), 9) if state == 'training' else mark(run, state)\n"
        "main()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, whole.train), str(tmp_path), "--name", "run"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000000"]
    resume_training(tmp_path / "run", device="cpu")
    assert_same(tmp_path / "run", whole.run)


def test_another_config_is_refused(copied):
    set_back(copied.run)
    other = {"adapter.dropout": 0.3, "generation.max_new_tokens": 3}
    with pytest.raises(RunError) as caught:
        DeclarLM(copied.run / "config.resolved.yaml", overrides=other).train(copied.rows, resume=copied.run)
    assert str(caught.value) == (
        f"{copied.run} began with another config: adapter.dropout was 0.2, is 0.3; generation.max_new_tokens was 2, "
        "is 3; train a new run"
    )


@pytest.mark.parametrize("change", ["a cell", "a row less", "another order"])
def test_other_rows_are_refused(copied, change):
    set_back(copied.run)
    other = {
        "a cell": ROWS.assign(color=["white", *ROWS["color"][1:]]),
        "a row less": ROWS.iloc[1:],
        "another order": ROWS.iloc[::-1],
    }[change]
    other.to_json(copied.run.parent / "other.jsonl", orient="records", lines=True)
    before = (copied.run / "checkpoints").stat().st_mtime_ns
    with pytest.raises(DataError) as caught:
        resume_training(copied.run, dataset=copied.run.parent / "other.jsonl", device="cpu")
    assert str(caught.value) == (
        f"the dataset rows are not those that {copied.run} began with; give the same rows, or train a new run"
    )
    assert (copied.run / "checkpoints").stat().st_mtime_ns == before


def test_rows_that_moved_can_be_named(copied):
    set_back(copied.run)
    moved = copied.run.parent / "moved.jsonl"
    shutil.copy(copied.rows, moved)
    data = json.loads((copied.run / "data.json").read_text())
    data["sources"]["dataset"]["path"] = "/nowhere/rows.jsonl"
    (copied.run / "data.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"there is no file /nowhere/rows\.jsonl"):
        resume_training(copied.run)
    resume_training(copied.run, dataset=moved, device="cpu")
    assert_same(copied.run, copied.whole)


def test_rows_in_memory_must_be_given_again(stories, tmp_path):
    changes = {"trainer": {"train_steps": 2, "batch_size": 4}}
    run = DeclarLM({"base_model": stories, **CONFIG, **changes}).train(ROWS, output=tmp_path).directory
    expected = (run / "model" / "adapter" / "adapter_model.safetensors").read_bytes()
    set_back(run)
    with pytest.raises(DataError) as caught:
        resume_training(run)
    assert str(caught.value) == f"the dataset rows of {run} were a table in memory; give them again"
    resume_training(run, dataset=ROWS)
    assert (run / "model" / "adapter" / "adapter_model.safetensors").read_bytes() == expected


def test_a_changed_config_is_refused(copied):
    set_back(copied.run)
    path = copied.run / "config.resolved.yaml"
    path.write_text(path.read_text().replace("batch_size: 4", "batch_size: 8"))
    with pytest.raises(RunError, match=r"cannot be resumed by another run: .*trainer\.batch_size was 4, is 8"):
        resume_training(copied.run, device="cpu")


def test_a_locked_run_is_an_error_in_python_too(copied):
    set_back(copied.run)
    with lock(copied.run / ".lock"), pytest.raises(LockedError) as caught:
        resume_training(copied.run)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("bits", [4, 8])
def test_training_is_the_same_whether_or_not_it_was_evaluated_on_a_quantized_base(stories, tmp_path, bits):
    def train(**trainer: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
        config = {
            **{"base_model": stories, **CONFIG, "quantization": {"bits": bits}},
            "output_features": [{"name": "color", "type": "category"}],
            "trainer": {"train_steps": 5, "batch_size": 4, "learning_rate": 5e-3, **trainer},
        }
        run = DeclarLM(config).train(ROWS, output=tmp_path).directory
        last = run / "checkpoints" / "step-00000005" / "weights.safetensors"
        return [line["loss"] for line in steps_of(run)], load_file(last)

    # Each evaluation predicts the validation rows in evaluation mode and without gradients, after which
    # bitsandbytes would dequantize other weights than before.
    losses, weights = train(eval_steps=1, evaluate_training_set=True, early_stop=-1)
    others, other_weights = train(skip_all_evaluation=True)
    assert losses == others
    assert len(losses) == 5
    assert all(torch.equal(weight, other_weights[name]) for name, weight in weights.items())
    assert any(weight.abs().max() > 0 for name, weight in weights.items() if "lora_B" in name)
