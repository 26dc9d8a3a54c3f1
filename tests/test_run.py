import json
import subprocess
import sys

import pytest

from declarlm.core import DataError, RunError
from declarlm.core.errors import DiskError, LockedError
from declarlm.core.files import append_json_line, atomic_folder, write_text
from declarlm.core.strict_yaml import read_yaml
from declarlm.run import Card, Run, Status, create_run, open_run, resume_run
from declarlm.training.interrupts import StoppedError


def test_runs_of_one_name_are_numbered(tmp_path):
    for expected in ("intents", "intents_2", "intents_3"):
        with create_run(tmp_path / "runs", "intents") as run:
            assert run.name == expected
            run.mark("training")
            run.mark("finished")
    assert open_run(tmp_path / "runs" / "intents_3").status == Status("finished")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "x" * 65, "naïve"])
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path, name):
    message = f"{name!r} cannot be a name; use up to 64 of A-Z a-z 0-9 . _ - and no dot in front"
    with pytest.raises(RunError) as caught, create_run(tmp_path, name):
        pass
    assert str(caught.value) == message
    with pytest.raises(RunError):
        Run(tmp_path).prediction_path(name)
    assert list(tmp_path.iterdir()) == []


def fail(output, error, *, in_training):
    with create_run(output, "intents") as run:
        run.write_data({"rows": 0})
        if in_training:
            run.mark("training")
        raise error


def test_a_run_that_fails_before_training_leaves_nothing_behind(tmp_path):
    with pytest.raises(DataError):
        fail(tmp_path / "new" / "runs", DataError("the table is empty"), in_training=False)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_in_training_says_why(tmp_path):
    with pytest.raises(DataError):
        fail(tmp_path, DataError("a label is missing", column="intent", row=17), in_training=True)
    expected = Status("failed", "DataError: column 'intent', row 17: a label is missing")
    assert open_run(tmp_path / "intents").status == expected


@pytest.mark.parametrize("error", [StoppedError("stopped after step 3 of 9"), KeyboardInterrupt()])
def test_a_run_that_was_stopped_is_interrupted_and_can_be_resumed(tmp_path, error):
    with pytest.raises(type(error)):
        fail(tmp_path, error, in_training=True)
    assert open_run(tmp_path / "intents").status.state == "interrupted"
    for name in ("config.resolved.yaml", "data.json"):
        (tmp_path / "intents" / name).write_text("{}")
    with resume_run(tmp_path / "intents") as run:
        run.mark("finished")
    assert open_run(tmp_path / "intents").status == Status("finished")


def test_two_processes_cannot_work_in_one_run(tmp_path):
    with create_run(tmp_path, "intents") as run:
        run.mark("training")
        code = f"""
from pathlib import Path
from declarlm.run import resume_run
try:
    with resume_run(Path({str(run.directory)!r})):
        print("got in")
except Exception as error:
    print(type(error).__name__, error)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"{LockedError.__name__} {run.directory} is in use by process ")


def test_what_is_no_run_is_not_opened(tmp_path):
    remedy = "give the directory that training named"
    with pytest.raises(RunError) as caught:
        open_run(tmp_path / "nowhere")
    assert str(caught.value) == f"{tmp_path / 'nowhere'} does not exist; {remedy}"
    with pytest.raises(RunError) as caught:
        open_run(tmp_path)
    assert str(caught.value) == f"{tmp_path} is no run: it has no file STATUS; {remedy}"


def test_an_output_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(DiskError) as caught, create_run(tmp_path / "runs", "intents"):
        pass
    assert str(caught.value) == f"{tmp_path / 'runs' / 'intents'} cannot be made: Not a directory"


def test_verify_names_what_is_missing_or_damaged(tmp_path):
    with create_run(tmp_path, "intents") as run:
        run.mark("training")
        run.write_config("model_type: llm\n", {"model_type": "llm"})
        run.write_features({})
        with pytest.raises(RunError) as caught:
            run.verify()
        expected = f"{run.directory} holds no trained model: model is missing, status 'training'"
        assert str(caught.value) == expected
        with atomic_folder(run.model) as folder:
            write_text(folder / "weights", "1 2 3")
        run.verify()
        (run.model / "weights").write_text("1 2")
        with pytest.raises(RunError) as caught:
            run.verify()
        assert str(caught.value) == f"{run.model} is damaged: a file does not match its manifest; copy the run again"


def test_the_config_is_kept_as_given_and_reads_back_as_resolved(tmp_path):
    given = "# mine\nmodel_type: llm   # yes\n"
    resolved = {"model_type": "llm", "labels": ["no", "1e3", "007", "~", "12:30", "a: b", "0x10"], "rate": 1e-05}
    run = Run(tmp_path)
    run.write_config(given, resolved)
    assert (tmp_path / "config.yaml").read_text() == given
    assert read_yaml(tmp_path / "config.resolved.yaml").data == resolved


def test_the_environment_names_versions_but_no_user_and_no_machine(tmp_path):
    import getpass
    import socket

    run = Run(tmp_path)
    run.write_environment("cpu")
    environment = run.read("environment")
    assert environment["packages"]["marshmallow"].startswith("4.")
    text = json.dumps(environment)
    assert getpass.getuser() not in text
    assert socket.gethostname() not in text


def test_metrics_are_read_without_a_line_cut_short(tmp_path):
    append_json_line(tmp_path / "metrics.jsonl", {"step": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert Run(tmp_path).metrics() == [{"step": 1}]


def test_the_card_states_columns_rows_and_results(tmp_path):
    card = Card(
        name="intents",
        base_model="starter",
        inputs=["utterance"],
        outputs=["a|b"],
        rows={"train": 90, "validation": 10},
        metrics={"validation": {"a|b": {"accuracy": 0.98765}}},
        notes=("Trained on product questions only.",),
    )
    Run(tmp_path).write_card(card)
    expected = """---
library_name: declarlm
tags:
- declarlm
base_model: starter
---

# intents

Predicts `a|b` from `utterance`, tuned from `starter`. Rows: 90 train, 10 validation.

Trained on product questions only.

| split | output | metric | value |
| --- | --- | --- | --- |
| validation | `a\\|b` | accuracy | 0.9877 |

```python
from declarlm import DeclarLM

predictions = DeclarLM.load("intents").predict(rows)
```
"""
    assert (tmp_path / "README.md").read_text() == expected
