"""The verb that searches: what it prints, and what it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from declarlm.cli import main

ROWS = pd.DataFrame({"a": [0.1 * number for number in range(60)], "label": ["low", "high"] * 30})
CONFIG = {
    "input_features": [{"name": "a", "type": "number"}],
    "output_features": [{"name": "label", "type": "category"}],
    "trainer": {"epochs": 1},
    "hyperopt": {
        "parameters": {"trainer.learning_rate": {"space": "grid_search", "values": [0.001, 0.01]}},
    },
}


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(json.dumps(CONFIG))
    ROWS.to_csv("rows.csv", index=False)
    return tmp_path


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as left:
        return left.code or 0
    return 0


@pytest.mark.usefixtures("files")
def test_a_sweep_prints_its_best_as_text_and_as_json(capsys):
    assert run("hyperopt", "-c", "config.yaml", "--dataset", "rows.csv") == 0
    out, err = capsys.readouterr()
    assert out.startswith("loss 0.")
    assert "trainer.learning_rate: 0.0" in out
    assert "trial_0000  finished  loss" in err
    assert "the sweep is in runs/config; its best run: declarlm predict runs/config/trials/trial_000" in err
    assert "to train it again: declarlm train -c runs/config/best.yaml --dataset rows.csv" in err
    assert run("hyperopt", "--resume", "runs/config", "--json", "--quiet") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["directory"] == "runs/config"
    assert told["metric"] == "loss"
    assert set(told["values"]) == {"trainer.learning_rate"}
    assert err == ""
    assert run("predict", told["best"], "--dataset", "rows.csv") == 0
    assert run(*told["command"].split()[1:], "--quiet") == 0


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hyperopt"], "Invalid value for --config: is required, or --resume DIR"),
        (["hyperopt", "-c", "config.yaml"], "Invalid value for --dataset: is required, or --resume DIR"),
        (["hyperopt", "--resume", "runs", "--set", "seed=1"], "Invalid value for --set: a sweep goes on as it began"),
    ],
)
def test_what_is_missing_or_too_much_is_a_usage_error(arguments, message, capsys):
    assert run(*arguments) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.usefixtures("files")
def test_a_folder_that_is_no_sweep_is_refused(capsys):
    assert run("hyperopt", "--resume", ".") == 1
    assert "is no sweep: it has no file sweep.json; give the folder that hyperopt named" in capsys.readouterr().err


@pytest.mark.usefixtures("files")
def test_train_says_that_it_does_not_search(capsys):
    assert run("train", "-c", "config.yaml", "--dataset", "rows.csv") == 0
    assert "config.yaml: its hyperopt section is for declarlm hyperopt; this trains once" in capsys.readouterr().err
