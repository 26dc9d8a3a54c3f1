"""Cross-validation and back-tests."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from declarlm.core import ConfigError, DataError
from declarlm.data.split import back_test, k_folds, splits
from declarlm.data.tables import read_table


def config(kind, **options):
    return splits[kind].Config(**options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("random", {}), ("stratified", {"column": "label"}), ("group", {"column": "label"}), ("hash", {"column": "text"})],
)
def test_every_row_is_tested_once_and_never_trained_on_then(shared, kind, options):
    table = read_table(shared / "data" / "banking77" / "test.csv")
    folds = list(k_folds(table, config(kind, **options), 5, seed=1))
    assert sorted(row for fold in folds for row in fold.test.index) == list(range(len(table)))
    for fold in folds:
        indices = [set(part.index) for part in (fold.train, fold.validation, fold.test)]
        assert sum(map(len, indices)) == len(table) == len(set.union(*indices))
        assert abs(len(fold.test) / len(table) - 0.2) < 0.05
        assert abs(len(fold.validation) / (len(fold.train) + len(fold.validation)) - 1 / 8) < 0.04
        if kind == "group":
            assert not set(fold.test["label"]) & set(fold.train["label"])


def test_stratified_folds_are_as_even_as_those_of_scikit_learn(shared):
    table = read_table(shared / "data" / "sms_spam" / "test.csv")
    own = [(fold.test["label"] == "spam").sum() for fold in k_folds(table, config("stratified", column="label"), 7, 0)]
    theirs = [
        (table["label"].iloc[test] == "spam").sum() for _, test in StratifiedKFold(7).split(table, table["label"])
    ]
    assert sorted(own) == sorted(theirs)


def test_without_a_share_there_is_no_validation():
    table = pd.DataFrame({"n": range(10)})
    for fold in k_folds(table, config("random", probabilities=[0.8, 0.0, 0.2]), 5, seed=0):
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (8, 0, 2)


@pytest.mark.parametrize("kind", ["fixed", "datetime"])
def test_a_split_without_folds_is_refused(kind):
    with pytest.raises(ConfigError) as caught:
        next(k_folds(pd.DataFrame({"c": [1]}), config(kind, column="c"), 5, seed=0))
    assert str(caught.value) == (
        f"config: preprocessing.split.type: {kind!r} cannot make folds, choose from: group, hash, random, stratified"
    )


def test_too_many_or_too_few_folds_are_refused():
    table = pd.DataFrame({"n": range(3)})
    with pytest.raises(DataError, match=r"^cross-validation needs at least 2 folds, got 1$"):
        next(k_folds(table, config("random"), 1, seed=0))
    with pytest.raises(DataError, match=r"^5 folds are too many for 3 rows: one would be empty$"):
        next(k_folds(table, config("random"), 5, seed=0))


def test_a_back_test_never_learns_from_the_future():
    days = pd.date_range("2026-01-01", periods=60).strftime("%Y-%m-%d")
    table = pd.DataFrame({"day": np.random.default_rng(0).permutation(days)})
    windows = list(back_test(table, "day", windows=4))
    assert [len(window.train) for window in windows] == [10, 20, 30, 40]
    assert {len(window.validation) for window in windows} == {len(window.test) for window in windows} == {10}
    for window in windows:
        assert window.train["day"].max() < window.validation["day"].min()
        assert window.validation["day"].max() < window.test["day"].min()
    assert windows[-1].test["day"].max() == days.max()


def test_a_back_test_needs_enough_times():
    table = pd.DataFrame({"day": ["2026-01-01"] * 5 + ["2026-01-02"] * 5})
    with pytest.raises(DataError, match=r"^column 'day': 2 windows need rows at 4 different times at least, evenly "):
        next(back_test(table, "day", windows=2))
    with pytest.raises(DataError, match=r"^a back-test needs at least 1 window, got 0$"):
        next(back_test(table, "day", windows=0))
