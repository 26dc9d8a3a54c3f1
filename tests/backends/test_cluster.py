"""A Ray cluster that runs already: found by its address, used, and left running."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from declarlm import DeclarLM
from declarlm.core import RunError
from tests.backends.test_training import TWO, check_equal, train

PORT = 6399


def test_a_cluster_that_is_not_there_is_an_error_at_once(for_numbers, numbers, tmp_path):
    config = {**for_numbers, "backend": {**TWO, "address": "127.0.0.1:9"}}
    with pytest.raises(RunError, match=r"no Ray cluster lets us in at 127\.0\.0\.1:9: .*refused; start one"):
        train(config, numbers, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_token_is_shown_to_a_cluster_unless_ray_was_imported_without_one(tmp_path, monkeypatch):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = "import_ray('backend', 'local'); print(os.environ.get('RAY_AUTH_MODE'))"
    for first, mode in (("import ray;", "None"), ("", "token")):
        code = f"import os; {first} from declarlm.backends.cluster import import_ray; {asked}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == mode


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a running Ray cluster, which is stopped at the end."""
    ray = Path(sys.executable).with_name("ray")
    start = ["start", "--head", f"--port={PORT}", "--include-dashboard=false", "--num-cpus=2", "--block"]
    with subprocess.Popen([ray, *start], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not is_open(PORT):
                assert process.poll() is None
                time.sleep(0.1)
            yield f"127.0.0.1:{PORT}"
        finally:
            process.terminate()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_a_running_cluster_is_used_by_its_address_and_left_running(cluster, for_numbers, numbers, tmp_path):
    backend = {**TWO, "address": cluster}
    alone = train(for_numbers, numbers, tmp_path / "alone")
    together = train({**for_numbers, "backend": backend}, numbers, tmp_path / "together")
    check_equal(alone, together)
    assert not (together.directory / ".ray").exists()
    found = DeclarLM.load(together.directory, device="cpu", backend=backend).predict(numbers)
    pd.testing.assert_frame_equal(found, DeclarLM.load(together.directory, device="cpu").predict(numbers))
    assert is_open(PORT)
