"""One model in two processes of Ray: the same training as in one, whatever happens to them."""

import os
import random
import signal
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from declarlm import DataError, DeclarLM
from declarlm.core import RunError
from declarlm.run import open_run
from declarlm.training.interrupts import StoppedError
from declarlm.training.progress import Silent

TWO = {"type": "ray", "num_workers": 2}


def train(config: dict[str, Any], rows: pd.DataFrame, output: Path, **more: Any) -> Any:
    return DeclarLM(config, device="cpu").train(rows, output=output, **{"progress": Silent(), **more})


def curve(run: Path) -> list[float]:
    return [line["loss"] for line in open_run(run).metrics() if line["kind"] == "step"]


def check_equal(alone: Any, together: Any) -> None:
    """Two trainings had the same losses at every step, found the same, and left the same model."""
    losses = curve(alone.directory)
    assert curve(together.directory) == pytest.approx(losses, rel=1e-5)
    assert losses[-1] < losses[0]
    for split, outputs in alone.metrics.items():
        for output, metrics in outputs.items():
            assert together.metrics[split][output] == pytest.approx(metrics, rel=1e-3, nan_ok=True)
    assert list(together.history.step) == list(alone.history.step)
    assert together.history["metrics.loss"].tolist() == pytest.approx(alone.history["metrics.loss"].tolist(), rel=1e-4)


def processes_of_the_training() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "RayTrainWorker" in " ".join(child.cmdline())]


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_a_language_model_trains_in_two_processes_as_in_one(ray_runs, for_colours, colours, tmp_path, strategy):
    alone = train(for_colours, colours, tmp_path / "alone")
    backend = {**TWO, "strategy": strategy}
    together = train({**for_colours, "backend": backend}, colours, tmp_path / "together")
    check_equal(alone, together)
    assert open_run(together.directory).status.state == "finished"
    assert not list(together.directory.glob(".*tmp")), "nothing is left over"
    assert not (together.directory / ".ray").exists()
    opened = DeclarLM.load(together.directory, device="cpu")
    assert opened.config.backend.type == "local", "a run predicts in one process, wherever it was trained"
    columns = ["first_predictions", "first_probability"]
    pd.testing.assert_frame_equal(
        opened.predict(colours)[columns], alone.model.predict(colours)[columns], atol=1e-4, rtol=1e-3
    )


@pytest.mark.slow
def test_an_encoder_trains_in_two_processes_as_in_one(ray_runs, for_numbers, numbers, tmp_path):
    alone = train(for_numbers, numbers, tmp_path / "alone")
    together = train({**for_numbers, "backend": TWO}, numbers, tmp_path / "together")
    check_equal(alone, together)
    written = (together.directory / "config.yaml").read_text()
    assert "num_workers: 2" in written


class Stopping(Silent):
    """Sends a signal after a few steps, to what ``whom`` returns."""

    def __init__(self, after: int, number: int, whom: Any) -> None:
        self.after, self.number, self.whom = after, number, whom

    def step(self, report: Any) -> None:
        if report.step >= self.after and self.number:
            os.kill(self.whom(), self.number)
            self.number = 0


@pytest.fixture(scope="module")
def long_config(for_numbers) -> dict[str, Any]:
    trainer = {**for_numbers["trainer"], "epochs": 150, "steps_per_checkpoint": 10, "early_stop": -1}
    return {**for_numbers, "trainer": trainer, "combiner": {"type": "concat", "dropout": 0.3}}


@pytest.mark.slow
def test_a_training_that_is_interrupted_or_loses_a_process_goes_on_to_the_same_weights(
    ray_runs, long_config, numbers, tmp_path
):
    config = {**long_config, "backend": TWO}
    whole = train(config, numbers, tmp_path, name="whole")
    cut = tmp_path / "cut"
    with pytest.raises(StoppedError, match=r"stopped after step \d+ of 750, with a checkpoint written"):
        train(config, numbers, tmp_path, name="cut", progress=Stopping(20, signal.SIGINT, os.getpid))
    assert open_run(cut).status.state == "interrupted"
    victim = lambda: random.Random(0).choice(processes_of_the_training()).pid  # noqa: E731
    with pytest.raises(RunError, match=r"a training process died.*declarlm resume") as raised:
        train(config, numbers, tmp_path, resume=cut, progress=Stopping(200, signal.SIGKILL, victim))
    assert "\n" not in str(raised.value)
    assert open_run(cut).status.state == "failed"
    resumed = train(config, numbers, tmp_path, resume=cut)
    same = [(run.directory / "model" / "heads.safetensors").read_bytes() for run in (whole, resumed)]
    assert same[0] == same[1]
    assert [line["step"] for line in open_run(cut).evaluations()] == list(range(5, 755, 5))


def test_what_is_wrong_with_rows_shows_before_any_process_is_started(for_numbers, numbers, tmp_path, monkeypatch):
    monkeypatch.setattr("declarlm.backends.ray.Ray.train", None)
    with pytest.raises(DataError, match="no column is named 'b'"):
        train({**for_numbers, "backend": "ray"}, numbers.drop(columns="b"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_error_in_a_process_is_the_users_error(ray_runs, for_colours, colours, tmp_path):
    config = {**for_colours, "backend": TWO, "trainer": {**for_colours["trainer"], "learning_rate": 1e39}}
    with pytest.raises(RunError, match=r"lower trainer\.learning_rate"):
        train(config, colours, tmp_path / "runs")
    assert not (tmp_path / "runs").exists(), "nothing was trained, nothing is left behind"


def test_more_processes_than_there_is_room_for_are_refused(ray_runs, for_numbers, numbers, tmp_path):
    config = {**for_numbers, "backend": {**TWO, "num_workers": 1000}}
    with pytest.raises(
        ValueError, match=r"backend\.num_workers: 1000 processes with 1 CPU each need more than there is"
    ):
        train(config, numbers, tmp_path / "runs")


def test_a_training_listens_on_loopback_only(ray_runs, long_config, numbers, tmp_path):
    seen: set[str] = set()

    def look() -> None:
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            try:
                found = process.net_connections("inet")
            except psutil.Error:
                continue
            seen.update(one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN)

    class Looking(Silent):
        def evaluation(self, evaluation: Any) -> None:
            if evaluation.step == 10:
                look()

    trainer = {**long_config["trainer"], "epochs": 3}
    train({**long_config, "trainer": trainer, "backend": TWO}, numbers, tmp_path, progress=Looking())
    assert seen
    assert all(ip_address(address.removeprefix("::ffff:")).is_loopback for address in seen), seen
