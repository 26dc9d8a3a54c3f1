"""Temperatures and thresholds: fitted to validation rows, kept in the run, applied to predictions."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from declarlm import ConfigError, DataError, DeclarLM, load_config
from declarlm.evaluation.calibration import fit_temperature
from declarlm.features.labels import at_temperature
from declarlm.metrics import Prediction, evaluate
from declarlm.metrics.calibration import expected_error, reliability

RNG = np.random.default_rng(3)


def noisy_rows(count=400):
    """Return rows whose label is the first word in seven of ten cases, and a coin otherwise."""
    rng = np.random.default_rng(5)
    words = rng.choice(["good", "bad"], count)
    labels = np.where(rng.random(count) < 0.6, words, rng.choice(["good", "bad"], count))
    return pd.DataFrame({"text": [f"{word} film {n}" for n, word in enumerate(words)], "label": labels})


def config(kind="category", **output):
    return {
        "input_features": [{"name": "text", "type": "text", "encoder": "tf_idf"}],
        "output_features": [{"name": "label", "type": kind, **output}],
        "trainer": {"epochs": 5, "learning_rate": 0.2, "early_stop": -1, "validation_metric": "accuracy"},
        "preprocessing": {"split": {"type": "random", "probabilities": [0.3, 0.6, 0.1]}},
    }


def test_a_temperature_is_that_of_a_search_over_the_logits():
    logits = RNG.normal(size=(200, 3)) * 4
    targets = np.where(RNG.random(200) < 0.5, logits.argmax(1), RNG.integers(0, 3, 200))

    def loss(temperature):
        scaled = logits / temperature
        return np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(200), targets])

    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = fit_temperature(shares, targets)
    assert found > 1
    assert found == pytest.approx(min(np.arange(0.5, 20, 0.001), key=loss), abs=2e-3)


def test_a_temperature_stays_finite_where_every_row_is_right():
    assert fit_temperature(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])) == pytest.approx(0.05, abs=1e-3)


def test_a_share_of_zero_stays_near_zero_at_another_temperature():
    assert at_temperature(np.array([[1.0, 0.0]]), 2.0).tolist() == [[1.0, pytest.approx(0.0, abs=1e-100)]]


def test_the_calibration_error_is_that_of_the_definition():
    shares = RNG.dirichlet([1, 1, 1], 300)
    truth = [f"{index}" for index in RNG.integers(0, 3, 300)]
    expected = 0.0
    for low in np.arange(15) / 15:
        confidence, right = shares.max(1), np.array([str(i) for i in shares.argmax(1)]) == truth
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    prediction = Prediction(values=[], probabilities=shares, labels=["0", "1", "2"])
    found = evaluate("category", truth, prediction, ["expected_calibration_error"])
    assert found["expected_calibration_error"] == pytest.approx(expected, abs=1e-9)


def test_bins_hold_every_row_once():
    bins = reliability(["a", "b"], np.array([[1.0, 0.0], [0.5, 0.5]]), ["a", "b"])
    assert sum(one.rows for one in bins) == 2
    assert bins[-1][2:] == (1, 1.0, 1.0)
    assert math.isnan(bins[0].accuracy)
    assert expected_error(bins) == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["category", "binary"])
def test_calibration_lowers_the_error_keeps_labels_and_stays_with_the_run(tmp_path, kind):
    rows = noisy_rows()
    plain = DeclarLM(config(kind)).train(rows, output=tmp_path, name="plain")
    run = DeclarLM(config(kind, calibration=True)).train(rows, output=tmp_path, name="calibrated")
    found = run.metrics["validation"]["label"]
    assert found["expected_calibration_error"] < found["uncalibrated_expected_calibration_error"]
    assert found["log_loss"] < plain.metrics["validation"]["label"]["log_loss"]
    assert "expected_calibration_error" not in plain.metrics["validation"]["label"]

    before, after = plain.model.predict(rows), run.model.predict(rows)
    assert before.label_predictions.tolist() == after.label_predictions.tolist()
    assert (after.label_probability < before.label_probability).mean() > 0.9
    pd.testing.assert_frame_equal(DeclarLM.load(run.directory).predict(rows), after)
    page = (run.directory / "calibration.html").read_text()
    assert page.count("<svg") == 2
    assert re.search(r"before: expected calibration error 0\.\d{3}", page)
    assert not (plain.directory / "calibration.html").exists()


def test_a_threshold_is_chosen_by_the_metric(tmp_path):
    rows = noisy_rows()
    rows["label"] = np.where((rows.index % 3 > 0) | (rows.text.str[0] == "b"), "no", "yes")
    by_f1 = DeclarLM(config("binary", threshold="auto")).train(rows, output=tmp_path)
    fixed = DeclarLM(config("binary")).train(rows, output=tmp_path)
    chosen = by_f1.model._model.outputs[0].state.threshold
    assert 0 < chosen < 1
    found, usual = (run.metrics["validation"]["label"]["f1"] for run in (by_f1, fixed))
    assert found > usual
    loaded = DeclarLM.load(by_f1.directory).predict(rows)
    assert (loaded.label_predictions == "yes").tolist() == (loaded.label_probabilities_yes >= chosen).tolist()
    by_accuracy = DeclarLM(config("binary", threshold="auto", metrics=["accuracy"])).train(rows, output=tmp_path)
    assert by_accuracy.metrics["validation"]["label"]["accuracy"] >= fixed.metrics["validation"]["label"]["accuracy"]


@pytest.mark.parametrize(
    ("output", "keys"),
    [
        ({"calibration": True}, "calibration: true"),
        ({"calibration": True, "threshold": "auto"}, "calibration: true and threshold: auto"),
    ],
)
def test_without_validation_rows_nothing_can_be_fitted(tmp_path, output, keys):
    given = config("binary", **output)
    given["preprocessing"]["split"]["probabilities"] = [0.7, 0.0, 0.3]
    with pytest.raises(DataError) as error:
        DeclarLM(given).train(noisy_rows(), output=tmp_path)
    assert str(error.value) == (
        f"column 'label': {keys} needs validation rows, and there are none; raise their share in "
        "preprocessing.split.probabilities, give a validation table, or leave it out"
    )
    assert not list(tmp_path.iterdir())


def test_a_written_answer_has_no_probability_to_calibrate():
    match = {"good": {"type": "regex", "value": "good"}, "bad": {"type": "contains", "value": "bad"}}
    given = {
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [
            {"name": "a", "type": "category", "calibration": True, "decoder": {"match": match}},
            {"name": "b", "type": "binary", "threshold": "auto", "decoder": {"match": match}},
        ],
    }
    with pytest.raises(ConfigError) as error:
        load_config(given)
    needs = "needs the probability of each label, and a rule of type regex reads a written answer"
    assert [str(problem) for problem in error.value.problems] == [
        f"output_features[0].calibration: {needs}; leave it out, or match each label by type: contains",
        f"output_features[1].threshold: {needs}; write a number, or match each label by type: contains",
    ]


def test_an_untrained_model_is_calibrated_by_train_and_not_before(tmp_path):
    given = {
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [
            {"name": "label", "type": "category", "calibration": True, "preprocessing": {"labels": ["good", "bad"]}}
        ],
        "preprocessing": {"sample_size": 60},
    }
    with pytest.raises(DataError, match="call train first, which changes no weight under trainer"):
        DeclarLM(given).predict(noisy_rows(4))
    run = DeclarLM(given).train(noisy_rows(), output=tmp_path)
    found = run.metrics["validation"]["label"]
    assert found["expected_calibration_error"] < found["uncalibrated_expected_calibration_error"]
    rows = noisy_rows(8)
    pd.testing.assert_frame_equal(DeclarLM.load(run.directory).predict(rows), run.model.predict(rows))
