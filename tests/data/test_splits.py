"""Which rows are trained on, and which judge: every type of split."""

import datetime
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedShuffleSplit

from declarlm.core import ConfigError, DataError
from declarlm.data.preprocessing import Preprocessing
from declarlm.data.sampling import shuffled
from declarlm.data.split import divide, splits
from declarlm.data.split.base import sizes
from declarlm.data.tables import read_table


def parts_of(table, seed=42, **split):
    config = Preprocessing.load({"split": split}).split
    tables = divide(table, config, seed)
    return [part.index.tolist() for part in (tables.train, tables.validation, tables.test)]


def problem_of(**split):
    with pytest.raises(ConfigError) as caught:
        Preprocessing.load({"split": split})
    return str(caught.value)


def error_of(table, **split):
    with pytest.raises(DataError) as caught:
        parts_of(table, **split)
    return str(caught.value)


def rows(count):
    return pd.DataFrame({"n": range(count)})


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (10, [0.7, 0.1, 0.2], [7, 1, 2]),
        (1000, [0.7, 0.1, 0.2], [700, 100, 200]),
        (3, [0.7, 0.1, 0.2], [1, 1, 1]),
        (4, [0.7, 0.1, 0.2], [2, 1, 1]),
        (11, [0.9, 0.1, 0], [10, 1, 0]),
        (5, [1, 0, 0], [5, 0, 0]),
        (2, [0.7, 0.1, 0.2], [1, 0, 1]),
        (10, [1 / 3] * 3, [4, 3, 3]),
    ],
)
def test_sizes_follow_the_shares_and_leave_no_wanted_part_empty(count, shares, expected):
    assert sizes(count, shares).tolist() == expected


def test_sizes_always_sum_to_the_rows():
    for count in range(200):
        for shares in ([0.7, 0.1, 0.2], [0.05, 0.9, 0.05], [1 / 7] * 7, [0.34, 0.33, 0.33]):
            found = sizes(count, shares)
            assert found.sum() == count
            assert (abs(found - count * np.array(shares)) <= 1).all() or count < 40


def test_the_order_of_a_seed_never_changes():
    # Written down once: another machine or NumPy that gives other rows would mix training and test rows.
    assert shuffled(10, 42, 1).tolist() == [1, 2, 8, 5, 3, 9, 6, 0, 4, 7]
    assert sorted(shuffled(1000, 7)) == list(range(1000))
    assert shuffled(1000, 7).tolist() != shuffled(1000, 8).tolist()


@pytest.mark.parametrize(
    "split",
    [
        {"type": "random"},
        {"type": "sequential"},
        {"type": "stratified", "column": "label"},
        {"type": "group", "column": "label"},
        {"type": "hash", "column": "text"},
        {"type": "datetime", "column": "time"},
    ],
    ids=lambda split: split["type"],
)
def test_every_row_is_in_one_part_of_about_the_right_size(shared, split):
    table = read_table(shared / "data" / "banking77" / "train.csv")
    table["time"] = range(len(table))
    parts = parts_of(table, **split)
    assert sorted(chain(*parts)) == list(range(len(table)))
    assert all(part == sorted(part) for part in parts)
    exactly = split["type"] in ("random", "sequential", "stratified", "datetime")
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - share * len(table)) <= (1 if exactly else 100)
    assert parts == parts_of(table, **split)
    if split["type"] not in ("datetime", "sequential"):
        assert parts != parts_of(table, seed=43, **split)


def test_a_sequential_split_tests_on_the_last_rows():
    assert parts_of(rows(10), type="sequential") == [[0, 1, 2, 3, 4, 5, 6], [7], [8, 9]]


def test_rows_keep_the_index_of_the_table():
    table = pd.DataFrame({"n": range(4)}, index=["a", "a", "b", "c"])
    tables = divide(table, splits["random"].Config(probabilities=[0.5, 0.25, 0.25]), 0)
    labels = [*tables.train.index, *tables.validation.index, *tables.test.index]
    assert sorted(labels) == ["a", "a", "b", "c"]


@pytest.mark.parametrize(("shares", "empty"), [([1, 0, 0], [False, True, True]), ([0.9, 0.1, 0], [False, False, True])])
def test_a_share_of_zero_leaves_the_part_out(shares, empty):
    for split in (
        {"type": "random"},
        {"type": "sequential"},
        {"type": "stratified", "column": "n"},
        {"type": "datetime", "column": "n"},
    ):
        if split["type"] == "stratified" and not empty[1]:
            continue  # Ten labels with one row each are all trained on.
        parts = parts_of(rows(10), probabilities=shares, **split)
        assert [not part for part in parts] == empty


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([0.5, 0.5], "must be three shares (train, validation, test), got 2 shares"),
        ([0.5, 0.5, 0.5], "must sum to 1, got 1.5"),
        ([80, 10, 10], None),
        ([0, 0.5, 0.5], "must leave rows to train on, got 0 for train"),
    ],
)
def test_wrong_shares_are_a_problem_of_the_config(shares, message):
    found = problem_of(type="random", probabilities=shares)
    assert found.startswith("config: split.probabilities")
    assert message is None or found == f"config: split.probabilities: {message}"


def test_too_few_rows_are_refused():
    assert error_of(rows(2), type="random") == (
        "splitting 2 rows leaves none for validation (share 0.1); "
        "set its share in preprocessing.split.probabilities to 0, or use another split type"
    )


def test_a_stratified_split_gives_every_part_the_same_mix(shared):
    table = read_table(shared / "data" / "banking77" / "train.csv")
    train, validation, test = parts_of(table, type="stratified", column="label")
    counts = table["label"].value_counts()
    for part, share in ((train, 0.7), (validation, 0.1), (test, 0.2)):
        found = table["label"].iloc[part].value_counts().reindex(counts.index, fill_value=0)
        assert (abs(found - share * counts) <= 1).all()
    # scikit-learn's rounding agrees to within one row for each label.
    reference = next(StratifiedShuffleSplit(1, test_size=len(test), random_state=0).split(table, table["label"]))[1]
    theirs = table["label"].iloc[reference].value_counts().reindex(counts.index)
    assert (abs(table["label"].iloc[test].value_counts().reindex(counts.index) - theirs) <= 1).all()


def test_a_label_with_one_row_is_trained_on():
    table = pd.DataFrame({"label": ["common"] * 40 + [f"rare {index}" for index in range(20)]})
    train, validation, test = parts_of(table, type="stratified", column="label")
    assert set(range(40, 60)) <= set(train)
    assert (len(validation), len(test)) == (4, 8)


def test_a_missing_label_is_a_stratum_of_its_own():
    table = pd.DataFrame({"label": ["a"] * 20 + [None] * 20})
    _, _, test = parts_of(table, type="stratified", column="label")
    assert sorted(row < 20 for row in test) == [False] * 4 + [True] * 4


def test_a_column_of_different_cells_cannot_be_stratified():
    assert error_of(rows(10), type="stratified", column="n") == (
        "splitting 10 rows leaves none for validation (share 0.1); "
        "set its share in preprocessing.split.probabilities to 0, or use another split type"
    )


@pytest.mark.parametrize("kind", ["stratified", "group", "hash", "fixed", "datetime"])
def test_the_column_that_decides_must_be_there(kind):
    assert error_of(pd.DataFrame({"label": ["x"]}), type=kind, column="lable") == (
        "preprocessing.split: no column is named 'lable' (did you mean 'label'?), choose from: label"
    )


def test_groups_stay_whole(shared):
    table = read_table(shared / "data" / "squad_v2_subset" / "train.csv")
    parts = parts_of(table, type="group", column="context")
    contexts = [set(table["context"].iloc[part]) for part in parts]
    assert sum(map(len, contexts)) == len(set.union(*contexts)) == table["context"].nunique()


def test_three_groups_make_three_parts():
    table = pd.DataFrame({"group": ["a"] * 10 + ["b"] * 10 + ["c"] * 10})
    assert [len(part) for part in parts_of(table, type="group", column="group")] == [10, 10, 10]
    assert error_of(pd.DataFrame({"group": ["a"] * 10 + ["b"] * 10}), type="group", column="group") == (
        "splitting 20 rows leaves none for test (share 0.2); "
        "set its share in preprocessing.split.probabilities to 0, or use another split type"
    )


def test_a_row_without_a_group_is_refused():
    table = pd.DataFrame({"group": ["a", None]}, index=["x", "y"])
    assert error_of(table, type="group", column="group") == (
        "column 'group', row y: names no group; fill it in or leave the row out"
    )


def test_a_hash_split_is_the_same_for_more_rows_in_any_order(shared):
    table = read_table(shared / "data" / "banking77" / "train.csv")
    part_of = {
        table["text"][row]: part
        for part, found in enumerate(parts_of(table, type="hash", column="text"))
        for row in found
    }
    fewer = table.iloc[5000:6000].sample(frac=1, random_state=0).reset_index(drop=True)
    for part, found in enumerate(parts_of(fewer, type="hash", column="text")):
        assert all(part_of[fewer["text"][row]] == part for row in found)


def test_numbers_hash_as_they_are_written():
    numbers, texts = pd.DataFrame({"id": range(100)}), pd.DataFrame({"id": [str(n) for n in range(100)]})
    assert parts_of(numbers, type="hash", column="id") == parts_of(texts, type="hash", column="id")


@pytest.mark.parametrize(
    "column",
    [
        [0, 1, 2, 0],
        [0.0, 1.0, 2.0, 0.0],
        ["0", "1", "2", "0"],
        ["train", "Validation", " test ", "TRAIN"],
    ],
)
def test_a_fixed_split_reads_names_and_numbers(column):
    assert parts_of(pd.DataFrame({"split": column}), type="fixed") == [[0, 3], [1], [2]]


@pytest.mark.parametrize("cell", ["dev", 3, None, 0.5, ""])
def test_a_fixed_split_refuses_other_values(cell):
    table = pd.DataFrame({"part": pd.Series(["train", cell], dtype=object, index=["x", "y"])})
    assert error_of(table, type="fixed", column="part") == (
        f"column 'part', row y: {cell!r} is no part of a split; write train, validation or test (or 0, 1, 2)"
    )


def test_a_fixed_split_without_training_rows_is_refused():
    assert error_of(pd.DataFrame({"split": ["test"]}), type="fixed") == "column 'split': no row is marked train (or 0)"


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (["2026-01-05", "2026-01-01", "2025-12-31", "2026-01-02", "2026-01-03"], {}),
        (["2026-01-05T10:00:00+01:00", "2026-01-01", "2025-12-31 23:59", "2026-01-02", "2026-01-03T00:00Z"], {}),
        (pd.to_datetime(["2026-01-05", "2026-01-01", "2025-12-31", "2026-01-02", "2026-01-03"]), {}),
        ([datetime.date(2026, 1, 5), *(datetime.date(2025, 1, day) for day in (2, 1, 3, 4))], {}),
        (["5", "1", "0", "2", "10"][::1], None),
        ([5, 1, 0, 2, 3], {}),
        ([20260105, 20260101, 20251231, 20260102, 20260103], {}),
        (["05.01.2026", "01.01.2026", "31.12.2025", "02.01.2026", "03.01.2026"], {"datetime_format": "%d.%m.%Y"}),
    ],
)
def test_a_split_by_time_tests_on_the_newest_rows(column, options):
    table = pd.DataFrame({"day": column})
    train, validation, test = parts_of(
        table, type="datetime", column="day", probabilities=[0.6, 0.2, 0.2], **(options or {})
    )
    assert (train, validation, test) == (([1, 2, 3], [0], [4]) if options is None else ([1, 2, 3], [4], [0]))


def test_rows_of_one_time_stay_together():
    table = pd.DataFrame({"day": ["2026-01-01"] * 8 + ["2026-01-02"] * 4 + ["2026-01-03"] * 4})
    assert [len(part) for part in parts_of(table, type="datetime", column="day", probabilities=[0.4, 0.3, 0.3])] == [
        8,
        4,
        4,
    ]
    assert error_of(table.head(8), type="datetime", column="day").startswith("splitting 8 rows leaves none for ")


@pytest.mark.parametrize(("cell", "problem"), [("31/01/2026", "'31/01/2026' is not a date"), (None, "is missing")])
def test_what_is_no_date_is_refused(cell, problem):
    table = pd.DataFrame({"day": ["2026-01-01", cell]}, index=["x", "y"])
    assert error_of(table, type="datetime", column="day") == (
        f"column 'day', row y: {problem}; "
        "write dates as 2026-01-31, or how they are written as preprocessing.split.datetime_format"
    )
