"""The options of every verb, and Ludwig's spellings of flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from people import CONFIG

from declarlm.cli.app import VERBS
from declarlm.cli.ludwig import ABSENT, translated
from declarlm.config import load_config

EVERYWHERE = {"--set": "seed=1", "--json": None, "--quiet": None, "--offline": None, "--seed": "1", "--device": "cpu"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("option", EVERYWHERE)
def test_no_verb_says_that_there_is_no_such_option(run, verb, option):
    value = EVERYWHERE[option]
    code, out, err = run(verb, option, *([] if value is None else [value]), "--nothing-like-this")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: No such option: --nothing-like-this")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "--from", "a", "--target", "b", "--set", "a=1"], "--set: edit the file that is written"),
        (["schema", "--set", "a=1"], "--set: there is no config to change here"),
        (["list", "--set", "a=1"], "--set: there is no config to change here"),
        (
            ["resume", "RUN", "--set", "seed=1"],
            "--set: a training goes on with the config that it began with; train a new run to change it",
        ),
        (
            ["resume", "RUN", "--seed", "0"],
            "--seed: a training goes on with the seed that it began with; train a new run to change it",
        ),
    ],
)
def test_what_could_change_nothing_is_refused(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"Error: Invalid value for {message}"


def test_what_has_no_meaning_changes_nothing(run, inside):
    plain = run("init", "--from", "people.csv", "--target", "rich")
    assert run("init", "--from", "people.csv", "--target", "rich", "--seed", 3, "--device", "cpu", "-q") == plain
    assert run("schema", "--json", "--quiet", "--seed", "3") == run("schema")
    assert run("list", "adapters", "--quiet", "--offline") == run("list", "adapters")


def test_init_prints_its_config_as_json(run, inside):
    code, out, err = run("init", "--from", "people.csv", "--target", "rich", "-o", "new.yaml", "--json", "--quiet")
    assert (code, err) == (0, "")
    assert load_config(json.loads(out)) == load_config("new.yaml")


def test_validate_takes_seed_device_and_quiet(run, inside):
    Path("old.yaml").write_text(CONFIG.replace("number", "numerical"))
    code, out, err = run("validate", "-c", "old.yaml", "--quiet", "--offline", "--seed", 3, "--device", "cpu", "--json")
    assert (code, err, json.loads(out)["seed"]) == (0, "", 3)
    assert run("validate", "-c", "old.yaml", "-q", "--device", "gpu") == (
        *(2, ""),
        "device: must be cpu, mps, cuda or cuda:1, got 'gpu'\n",
    )


def test_evaluate_takes_what_generation_is_changed_to(run, inside, trained):
    code, out, err = run("evaluate", trained, "--dataset", "people.csv", "--set", "seed=1")
    message = "--set seed=1: seed: no section or feature is named 'seed', choose from: generation\n"
    assert (code, out, err) == (2, "", message)
    assert run("evaluate", trained, "--dataset", "people.csv", "--seed", 3) == run(
        "evaluate", trained, "--dataset", "people.csv"
    )


@pytest.mark.parametrize("flag", ABSENT)
def test_a_flag_of_ludwig_that_there_is_not_says_what_to_write(run, flag):
    assert run("predict", "RUN", flag, "x") == (
        *(2, ""),
        f"{flag}: a Ludwig flag that Declarlm does not have: {ABSENT[flag]}\n",
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("train -c a.yaml --training_set a.csv -rs 3", "train -c a.yaml --dataset a.csv --seed 3"),
        ("train --experiment_name big --model_name one", "train --name big_one"),
        ("train --model_name=one --experiment_name=big", "train --name big_one"),
        ("train --experiment_name big", "train --name big"),
        ("train --output_directory results", "train --output results"),
        ("predict -m RUN -od results", "predict RUN --output results/predictions.csv"),
        ("evaluate --model_path=RUN --output_directory=results", "evaluate RUN --output results/predictions.csv"),
        ("train --model_resume_path RUN -c a.yaml -od results --model_name one", "resume RUN -c a.yaml"),
        ("resume -mrp RUN", "resume RUN"),
        ("", ""),
    ],
)
def test_flags_of_ludwig_are_translated(given, meant):
    assert translated(given.split()) == meant.split()


def test_predictions_go_into_a_directory_as_ludwig_writes_them(run, inside, trained):
    Path("results").mkdir()
    found = run("predict", "-m", trained, "--dataset", "people.csv", "--output_directory", "results")
    assert found == (0, "", "60 predictions are in results/predictions.csv\n")
    assert len(Path("results/predictions.csv").read_text().splitlines()) == 61


def test_a_run_is_resumed_with_its_own_config_only(run, inside, trained):
    found = run("train", "--model_resume_path", trained, "-c", "people.yaml", "--training_set", "people.csv")
    assert found == (1, "", f"{trained} is finished; there is nothing to resume\n")
    Path("other.yaml").write_text(CONFIG.replace("epochs: 20", "epochs: 21"))
    message = f"{trained} began with another config: trainer.epochs was 20, is 21; train a new run\n"
    assert run("train", "--model_resume_path", trained, "-c", "other.yaml") == (1, "", message)
