"""Metrics of numbers, against scikit-learn, SciPy and values by hand."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as reference

from declarlm.metrics import Prediction, evaluate


def test_number_metrics_equal_those_of_scikit_learn_and_scipy():
    generator = np.random.default_rng(0)
    truth = generator.normal(5, 2, 300).round(1)  # rounded, so that ranks have ties
    values = (truth + generator.normal(0, 1, 300)).round(1)
    expected = {
        "answered": 1,
        "mse": reference.mean_squared_error(truth, values),
        "rmse": reference.root_mean_squared_error(truth, values),
        "mae": reference.mean_absolute_error(truth, values),
        "mape": reference.mean_absolute_percentage_error(truth, values),
        "r2": reference.r2_score(truth, values),
        "pearson": scipy.stats.pearsonr(truth, values).statistic,
        "spearman": scipy.stats.spearmanr(truth, values).statistic,
    }
    assert evaluate("number", truth, Prediction(values)) == pytest.approx(expected, abs=1e-12)


def test_rows_without_an_answer_are_left_out_and_counted():
    found = evaluate("number", [1, 2, 3, 4], Prediction([1.0, math.nan, 5.0, math.inf]))
    assert found["answered"] == 0.5
    assert found["mae"] == 1
    nothing = evaluate("number", [1, 2], Prediction([math.nan, math.nan]))
    assert nothing.pop("answered") == 0
    assert all(math.isnan(value) for value in nothing.values())


def test_rows_with_a_true_zero_have_no_percentage_error():
    assert evaluate("number", [0, 2], Prediction([1, 3]), ["mape"])["mape"] == 0.5
    assert math.isnan(evaluate("number", [0, 0], Prediction([1, 3]), ["mape"])["mape"])


@pytest.mark.parametrize(
    ("truth", "values", "expected"),
    [
        ([0.1] * 3, [1, 2, 3], math.nan),
        ([1, 2, 3], [0.1] * 3, 0),
        ([1], [1], math.nan),
        ([1e-200, 2e-200, 3e-200], [1e200, 2e200, 3e200], 1),
        ([1, 2, 3], [3, 2, 1], -1),
    ],
)
@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_correlation_without_variance_is_defined(name, truth, values, expected):
    assert evaluate("number", truth, Prediction(values), [name])[name] == pytest.approx(expected, nan_ok=True)


def test_an_absurd_answer_makes_an_infinite_error_and_no_warning():
    assert evaluate("number", [1, 2], Prediction([1e300, 2]), ["rmse", "mse"]) == {"rmse": math.inf, "mse": math.inf}


def test_variance_is_explained_only_where_there_is_some():
    assert math.isnan(evaluate("number", [2, 2], Prediction([2, 2]), ["r2"])["r2"])
    assert evaluate("number", [1, 3], Prediction([2, 2]), ["r2"])["r2"] == 0
