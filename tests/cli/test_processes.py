"""The command line in processes of its own: signals, pipes, the network, and what other libraries print."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from people import CONFIG, ROWS


def test_a_run_that_a_person_stopped_goes_on(run, inside):
    changes = ["trainer.epochs=800", "trainer.early_stop=-1", "trainer.eval_steps=200"]
    options = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, "-c", "from declarlm.cli import main; main()", "train", "-c", "people.yaml"]
    with subprocess.Popen(
        [*command, "--dataset", "people.csv", *options], stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        while process.poll() is None and not any(Path("runs").glob("people/checkpoints/step-*")):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"^stopped after step \d+ .*; go on with: declarlm resume runs/people$", err, re.MULTILINE)
    assert "Traceback" not in err
    Path("people.csv").rename("moved.csv")
    code, _, err = run("resume", "runs/people")
    assert code == 3
    assert err.startswith("there is no file ")
    ROWS.head(50).to_csv("other.csv", index=False)
    assert run("resume", "runs/people", "--dataset", "other.csv") == (
        3,
        "",
        "the dataset rows are not those that runs/people began with; give the same rows, or train a new run\n",
    )
    code, out, _ = run("resume", "runs/people", "--dataset", "moved.csv", "--json")
    assert code == 0
    assert json.loads(out)["directory"] == "runs/people"
    steps = [json.loads(line)["step"] for line in Path("runs/people/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 800 * 6
    assert Path("runs/people/config.yaml").read_text() == CONFIG


UNPLUGGED = """\
import socket

def refuse(*arguments):
    raise AssertionError(f"a network call: {arguments}")

socket.socket.connect = socket.getaddrinfo = refuse
from declarlm.cli import main
main()
"""


def unplugged(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, in which a network call is a bug."""
    theirs = ("HF_", "TRANSFORMERS_", "PYTHON")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    command = [sys.executable, "-c", UNPLUGGED, *arguments]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)


def test_offline_makes_no_network_call(inside):
    Path("hub.yaml").write_text("base_model: nobody/nothing\n" + CONFIG.replace("number", "text"))
    done = unplugged("train", "-c", "hub.yaml", "--dataset", "people.csv", "--offline", folder=inside)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hub.yaml:1: base_model: there is no folder 'nobody/nothing'")
    assert len(done.stderr.splitlines()) == 1
    done = unplugged(
        "train", "-c", "people.yaml", "--dataset", "hf://datasets/nobody/x/a.csv", "--offline", folder=inside
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("hf://datasets/nobody/x/a.csv: ")
    assert len(done.stderr.splitlines()) == 1


def test_what_another_program_reads_is_utf_8(inside, capfd):
    Path("people.yaml").write_text(CONFIG.replace("job", "größe"))
    command = [sys.executable, "-c", "from declarlm.cli import main; main()", "validate", "-c", "people.yaml", "--json"]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert json.loads(done.stdout.decode("utf-8"))["input_features"][1]["name"] == "größe"


def test_a_closed_pipe_is_no_error(inside, trained):
    command = f"{sys.executable} -c 'from declarlm.cli import main; main()' predict {trained} --dataset people.csv"
    done = subprocess.run(f"{command} | head -1", shell=True, capture_output=True, text=True, check=True)  # noqa: S602
    assert done.stdout.startswith("rich_predictions,")
    assert done.stderr == ""


NEGLIGIBLE = re.compile(r"trains [\d,]+ of |step \d+/|epoch \d|the run is in ")


@pytest.mark.parametrize(
    ("adapter", "more"),
    [("lora", {}), ("adalora", {}), ("qlora", {}), ("lora", {"quantization": {"bits": 8}})],
    ids=["lora", "adalora", "4 bits", "8 bits"],
)
def test_other_libraries_print_nothing_and_call_nobody(tmp_path, adapter, more):
    config = {
        "base_model": "starter",
        "input_features": [{"name": "job", "type": "text"}],
        "output_features": [{"name": "rich", "type": "text"}],
        "adapter": adapter,
        "trainer": {"epochs": 1},
        "preprocessing": {"sample_size": 30},
        **more,
    }
    (tmp_path / "people.yaml").write_text(json.dumps(config))
    ROWS.to_csv(tmp_path / "people.csv", index=False)
    verbs = [["train", "-c", "people.yaml"], ["predict", "runs/people", "--output", "predictions.csv"]]
    for verb in verbs if adapter == "qlora" else verbs[:1]:
        done = unplugged(*verb, "--dataset", "people.csv", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        told = [line for line in done.stderr.splitlines() if not NEGLIGIBLE.match(line)]
        assert told == [] if verb[0] == "train" else told == ["60 predictions are in predictions.csv"]
