"""The examples that prompt: without training, with examples; and the one that calibrates."""

from pathlib import Path

import pandas as pd
import pytest

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def requests(shared):
    table = pd.read_json(shared / "data/snips/train.jsonl", lines=True)[["text", "intent"]].sample(360, random_state=1)
    return table.iloc[:300], table.iloc[300:]


@pytest.fixture(scope="module")
def unaided(requests):
    result = DeclarLM(FOLDER / "zero_shot" / "config.yaml").evaluate(requests[1])
    return result.metrics["intent"]["accuracy"], result.predictions


def test_a_base_that_was_not_trained_names_labels(unaided):
    accuracy, predictions = unaided
    assert accuracy > 0.2  # a seventh by chance
    assert predictions["intent_predictions"].nunique() > 3


def test_examples_of_like_meaning_help_a_base_that_was_not_trained(requests, unaided, tmp_path):
    few = {"prompt.retrieval.model_name": "starter"}
    result = DeclarLM(FOLDER / "few_shot" / "config.yaml", overrides=few).train(
        requests[0], test=requests[1], output=tmp_path
    )
    assert result.metrics["test"]["intent"]["accuracy"] > unaided[0] + 0.1


def test_probabilities_are_calibrated_and_a_threshold_is_found(shared, tmp_path):
    table = pd.read_csv(shared / "data/adult/train.csv").iloc[:3000]
    few = {"trainer.epochs": 3}
    found = [
        DeclarLM(FOLDER / "calibration" / "config.yaml", overrides={**few, **more}).train(table, output=tmp_path)
        for more in ({}, {"income.threshold": 0.5})
    ]
    tuned, usual = (result.metrics["validation"]["income"] for result in found)
    assert tuned["f1"] > usual["f1"]
    assert tuned["expected_calibration_error"] != tuned["uncalibrated_expected_calibration_error"]
    assert "<svg" in (found[0].directory / "calibration.html").read_text(encoding="utf-8")
