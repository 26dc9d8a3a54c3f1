"""A run that was killed or stopped goes on as if nothing had happened, to the last bit."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from small_run import Notes, make_trainer

from declarlm.training.interrupts import StoppedError

PROGRAM = Path(__file__).with_name("killed_run.py")


class Runs:
    """Training in other processes, one at a time."""

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self.server = server
        self._expected: dict[str, str] = {}

    def run(self, directory: Path, optimizer: str, mode: str, *, send: int = 0, after: int = 0) -> list[str]:
        """Train; send a signal when ``after`` steps have been seen; return the lines printed."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        print(directory, optimizer, mode, file=self.server.stdin, flush=True)
        lines: list[str] = []
        while not lines or not lines[-1].startswith("ended"):
            lines.append(self.server.stdout.readline().strip())
            if send and len([line for line in lines if line.startswith("step")]) == after:
                os.kill(int(lines[0].split()[1]), send)
                send = 0
        return lines

    def hash(self, directory: Path, optimizer: str, mode: str) -> str:
        """Train to the end and return the hash of everything trained."""
        return self.run(directory, optimizer, mode)[-2].removeprefix("hash ")

    def expected(self, optimizer: str) -> str:
        """Return the hash that training without interruption gives."""
        if optimizer not in self._expected:
            with TemporaryDirectory() as directory:
                self._expected[optimizer] = self.hash(Path(directory), optimizer, "fresh")
        return self._expected[optimizer]


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    command = [sys.executable, "-W", "ignore", str(PROGRAM)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield Runs(server)
        assert server.stdin is not None
        server.stdin.close()


@pytest.mark.parametrize("optimizer", ["adamw", "paged_adamw_8bit"])
def test_resume_after_sigkill_is_bit_identical(tmp_path: Path, runs: Runs, optimizer: str):
    assert len(runs.expected(optimizer)) == 64
    for mode, after in (("fresh", 5), ("resume", 4), ("resume", 3)):  # one step more in the fire drill
        lines = runs.run(tmp_path / "killed", optimizer, mode, send=signal.SIGKILL, after=after)
        assert lines[-1] == "ended -9"
    assert runs.hash(tmp_path / "killed", optimizer, "resume") == runs.expected(optimizer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_resume_is_bit_identical(tmp_path: Path, runs: Runs, number: int):
    lines = runs.run(tmp_path / "stopped", "adamw", "fresh", send=number, after=4)
    step = max(int(line.split()[1]) for line in lines if line.startswith("step"))
    assert lines[-2] == (
        f"error StoppedError 130 stopped after step {step} of 20, with a checkpoint written; "
        f"go on with: declarlm resume {tmp_path / 'stopped'}"
    )
    assert (tmp_path / "stopped" / "checkpoints" / f"step-{step:08d}").is_dir()
    assert runs.hash(tmp_path / "stopped", "adamw", "resume") == runs.expected("adamw")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adalora", "qlora"])
def test_a_real_adapter_resumes_after_sigkill_to_the_last_bit(tmp_path: Path, stories: str, kind: str):
    program = str(Path(__file__).with_name("killed_adapter.py"))
    command = [sys.executable, "-W", "ignore", program, stories, str(tmp_path), kind]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert [line for line in lines if line.startswith("ended")] == ["ended 0", "ended -9", "ended -9", "ended 0"]
    hashes = dict(line.split() for line in lines if not line.startswith("ended"))
    assert hashes["killed"] == hashes["whole"]


def test_signals_while_the_checkpoint_of_the_first_is_written_change_nothing(tmp_path: Path):
    class Impatient(Notes):
        def step(self, report: Any) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    trainer = make_trainer(tmp_path, progress=Impatient())
    save, saved = trainer.checkpoints.save, []

    def save_slowly(*arguments: Any) -> None:
        saved.append(trainer.state.step)
        os.kill(os.getpid(), signal.SIGTERM)
        save(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError, match="stopped after step 1 of"):
        for _ in trainer.fit(begun=lambda: setattr(trainer.checkpoints, "save", save_slowly)):
            pass
    assert saved == [1]
    assert max(trainer.checkpoints.steps()) == 1
