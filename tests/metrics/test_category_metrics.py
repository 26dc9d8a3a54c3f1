"""Metrics of category and binary outputs, against scikit-learn and counts by hand."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference

from declarlm.core import DeclarlmError
from declarlm.metrics import Prediction, evaluate, goal_of, label_report, metrics

LABELS = ["a", "b", "c", "d"]


def sample(rows=500, labels=LABELS, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.choice(labels, rows, p=generator.dirichlet(np.ones(len(labels)) * 5)).tolist()
    scores = generator.normal(size=(rows, len(labels)))
    scores[np.arange(rows), [labels.index(true) for true in truth]] += 1
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    values = [labels[index] for index in probabilities.argmax(axis=1)]
    return truth, Prediction(values=values, probabilities=probabilities, labels=labels)


def test_category_metrics_equal_those_of_scikit_learn():
    truth, prediction = sample()
    values, probabilities = list(prediction.values), prediction.probabilities
    expected = {
        "accuracy": reference.accuracy_score(truth, values),
        "accuracy_macro": reference.balanced_accuracy_score(truth, values),
        "f1_macro": reference.f1_score(truth, values, average="macro"),
        "f1_micro": reference.f1_score(truth, values, average="micro"),
        "f1_weighted": reference.f1_score(truth, values, average="weighted"),
        "precision_macro": reference.precision_score(truth, values, average="macro"),
        "recall_macro": reference.recall_score(truth, values, average="macro"),
        "roc_auc": reference.roc_auc_score(truth, probabilities, multi_class="ovr", labels=LABELS),
        "log_loss": reference.log_loss(truth, probabilities, labels=LABELS),
        "hits_at_k": reference.top_k_accuracy_score(truth, probabilities, k=3, labels=LABELS),
    }
    assert evaluate("category", truth, prediction) == pytest.approx(expected, abs=1e-12)


def test_binary_metrics_equal_those_of_scikit_learn():
    truth, prediction = sample(labels=["ham", "spam"])
    values, probabilities = list(prediction.values), prediction.probabilities[:, 1]
    negated = [value == "ham" for value in truth], [value == "ham" for value in values]
    expected = {
        "accuracy": reference.accuracy_score(truth, values),
        "precision": reference.precision_score(truth, values, pos_label="spam"),
        "recall": reference.recall_score(truth, values, pos_label="spam"),
        "f1": reference.f1_score(truth, values, pos_label="spam"),
        "f1_macro": reference.f1_score(truth, values, average="macro"),
        "specificity": reference.recall_score(*negated),
        "roc_auc": reference.roc_auc_score(truth, probabilities),
        "log_loss": reference.log_loss(truth, probabilities),
        "average_precision": reference.average_precision_score(truth, probabilities, pos_label="spam"),
    }
    assert evaluate("binary", truth, prediction) == pytest.approx(expected, abs=1e-12)


def test_what_the_truth_leaves_undefined_is_nan():
    half = np.full((3, 2), 0.5)
    negative = evaluate("binary", ["no"] * 3, Prediction(["no", "yes", "no"], half, ["no", "yes"]))
    assert {name for name, value in negative.items() if math.isnan(value)} == {
        *("precision", "recall", "f1", "roc_auc", "average_precision")
    }
    positive = evaluate("binary", ["yes"] * 3, Prediction(["no", "yes", "no"], half, ["no", "yes"]))
    assert {name for name, value in positive.items() if math.isnan(value)} == {"roc_auc", "specificity"}
    nothing = evaluate("category", [], Prediction([], np.zeros((0, 2)), ["no", "yes"]))
    assert all(math.isnan(value) for value in nothing.values())


def test_what_the_prediction_leaves_undefined_is_zero():
    found = evaluate("binary", ["no", "yes"], Prediction(["no", "no"], None, ["no", "yes"]))
    assert found == {"accuracy": 0.5, "precision": 0, "recall": 0, "f1": 0, "f1_macro": 1 / 3, "specificity": 1}


def test_unanswered_rows_are_wrong_and_no_label_of_their_own():
    found = evaluate("category", ["a", "b"], Prediction(["a", ""], None, ["a", "b"]))
    assert found["accuracy"] == 0.5
    assert found["f1_macro"] == 0.5  # 1 for a, 0 for b; an empty third label would make it 1/3
    assert found["f1_micro"] == pytest.approx(2 / 3)  # precision 1 of 1, recall 1 of 2


def test_labels_that_the_model_does_not_know_are_wrong():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    found = evaluate("category", ["a", "b", "new"], Prediction(["a", "b", "a"], probabilities, ["a", "b"]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["accuracy_macro"] == pytest.approx(2 / 3)
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(np.finfo(float).eps)) / 3)
    assert found["hits_at_k"] == pytest.approx(2 / 3)


def test_a_label_that_no_row_has_is_left_out_of_the_area():
    truth, prediction = sample()
    truth = ["a" if true == "d" else true for true in truth]
    areas = [
        reference.roc_auc_score([true == label for true in truth], prediction.probabilities[:, index])
        for index, label in enumerate("abc")
    ]
    assert evaluate("category", truth, prediction, ["roc_auc"])["roc_auc"] == pytest.approx(np.mean(areas))


def test_metrics_without_probabilities_are_left_out_unless_asked_for():
    prediction = Prediction(["a", "b"], None, ["a", "b"])
    assert not {"roc_auc", "log_loss", "hits_at_k"} & evaluate("category", ["a", "b"], prediction).keys()
    assert math.isnan(evaluate("category", ["a", "b"], prediction, ["roc_auc"])["roc_auc"])


def test_other_spellings_keep_the_name_that_was_asked_for():
    prediction = Prediction(["a", "a"], None, ["a", "b"])
    assert evaluate("category", ["a", "b"], prediction, ["accuracy_micro"]) == {"accuracy_micro": 0.5}
    assert evaluate("number", [3.0], Prediction([1.0]), ["root_mean_squared_error"]) == {"root_mean_squared_error": 2}


def test_a_metric_of_another_type_is_refused():
    with pytest.raises(DeclarlmError) as caught:
        evaluate("text", ["a"], Prediction(["a"]), ["rogue_l"])
    assert str(caught.value) == (
        "no text metric is named 'rogue_l' (did you mean 'rouge_l'?), "
        "choose from: exact_match, json_exact_match, json_valid, normalized_exact_match, rouge_l, token_f1"
    )
    with pytest.raises(DeclarlmError, match=r"^no text metric is named 'rmse', choose from: "):
        evaluate("text", ["a"], Prediction(["a"]), ["rmse"])


def test_every_metric_has_a_goal():
    errors = {"log_loss", "mae", "mape", "mse", "rmse"}
    smaller = errors | {"expected_calibration_error", "uncalibrated_expected_calibration_error", "hamming_loss"}
    assert {name for name in metrics if goal_of(name) == "minimize"} == smaller
    assert goal_of("loss") == goal_of("perplexity") == goal_of("mean_squared_error") == "minimize"
    with pytest.raises(DeclarlmError, match=r"^no metric is named 'acuracy' \(did you mean 'accuracy'\?\), choose "):
        goal_of("acuracy")


def test_the_label_report_equals_scikit_learn():
    truth, prediction = sample()
    report = label_report(truth, prediction)
    values = list(prediction.values)
    assert report.confusion == reference.confusion_matrix(truth, values, labels=LABELS).tolist()
    assert report.kappa == pytest.approx(reference.cohen_kappa_score(truth, values))
    precision, recall, f1, rows = reference.precision_recall_fscore_support(truth, values, labels=LABELS)
    for index, label in enumerate(LABELS):
        assert report.per_label[label] == pytest.approx(
            {
                "precision": precision[index],
                "recall": recall[index],
                "f1": f1[index],
                "rows": rows[index],
                "predicted": values.count(label),
            }
        )


def test_the_label_report_shows_what_is_no_label():
    report = label_report(["a", "new"], Prediction(["", "a"], None, ["b", "a"]))
    assert report.labels == ["b", "a", "", "new"]
    assert report.confusion == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert math.isnan(report.per_label["b"]["recall"])
    assert report.per_label["a"] == {"precision": 0, "recall": 0, "f1": 0, "rows": 1, "predicted": 1}
    assert math.isnan(label_report(["a"], Prediction(["a"], None, ["a", "b"])).kappa)
    assert label_report([], Prediction([], None, ["a"])).confusion == [[0]]
