"""Sets, vectors and dates: how cells are read, what is refused, and what a model makes of them."""

import numpy as np
import pandas as pd
import pytest

from declarlm import ConfigError, DataError, DeclarLM
from declarlm.config import REGISTRIES


def feature(side, kind, **preprocessing):
    return REGISTRIES[side][kind].Config.load({"name": "a", "preprocessing": preprocessing}).build()


def column(*cells):
    return pd.Series(list(cells), name="a", dtype=object)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["New York, Rome", "Rome", ""], [["New York", "Rome"], ["Rome"], []]),
        (["a;b", "b ; a", "c, d"], [["a", "b"], ["b", "a"], ["c, d"]]),
        (["a b", "b", "a  b"], [["a", "b"], ["b"], ["a", "b"]]),
        ([["x y", "z"], '["z", "x y"]', ["z", "z"]], [["x y", "z"], ["z", "x y"], ["z"]]),
        ([[1, 2], "[2]", [1]], [["1", "2"], ["2"], ["1"]]),
        ([{"b", "a"}, frozenset("b")], [["a", "b"], ["b"]]),
    ],
)
def test_labels_are_read_from_lists_and_texts(cells, expected):
    output = feature("output_features", "set").fit(column(*cells))
    assert output.truth(column(*cells)) == expected
    targets = output.targets(column(*cells))
    found = [[label for label, there in zip(output.labels, row, strict=True) if there] for row in targets]
    assert [sorted(row) for row in found] == [sorted(row) for row in expected]


def test_the_separator_of_the_training_rows_is_kept():
    given = feature("input_features", "set").fit(column("a, b", "c"))
    assert given.render(column("c d, a", None)) == ["c d, a", ""]
    assert [row.tolist() for row in given.transform(column("b, zzz", None))] == [[2, 0], [0]]
    chosen = feature("input_features", "set", separator="/").fit(column("a, b/c"))
    assert chosen.state.labels == ["a, b", "c"]


def test_a_set_without_any_label_is_refused():
    with pytest.raises(DataError, match="column 'a': has no label in 2 training rows"):
        feature("output_features", "set").fit(column([], []))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("1 x", "row 1: 'x' is not a number; write a list of numbers"),
        ([1.0, float("nan")], "row 1: nan is not a number"),
        ([1.0, 2.0, 3.0], "row 1: has 3 numbers, but 2 are wanted; every row must have as many"),
        ([1.0, None], "row 1: None is not a number"),
        (None, "row 1: is missing; write preprocessing.missing_value_strategy: drop_row"),
    ],
)
def test_a_vector_of_another_size_or_with_a_word_is_refused(cell, told):
    rows = column([0.5, 1.0], cell)
    with pytest.raises(DataError, match="column 'a'") as error:
        feature("input_features", "vector").fit(rows).transform(rows)
    assert told in str(error.value)


def test_a_vector_is_read_from_lists_arrays_and_texts():
    rows = column([1, 2.5], np.array([0.0, -1.0]), "3 4", "[5, 6]", "7,8")
    found = feature("input_features", "vector").fit(rows).transform(rows)
    assert found.tolist() == [[1, 2.5], [0, -1], [3, 4], [5, 6], [7, 8]]


def test_a_date_is_where_it_stands_in_each_round():
    rows = column("2026-01-01", "2026-12-31", "2026-07-01", "2026-01-01T12:00")
    found = feature("input_features", "date").fit(rows).transform(rows)
    assert found.shape == (4, 11)
    assert found[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert found[:, 0].std() == pytest.approx(1, abs=1e-5)
    first, last, summer, noon = found
    sines, cosines = slice(1, 6), slice(6, 11)
    assert np.linalg.norm(np.stack([found[:, sines], found[:, cosines]]), axis=0) == pytest.approx(1, abs=1e-5)
    year = [3, 8]  # sine and cosine of the day of the year
    assert np.linalg.norm(first[year] - last[year]) < 0.05 < 1.9 < np.linalg.norm(first[year] - summer[year])
    assert noon[[1, 6]].tolist() == pytest.approx([0, -1], abs=1e-4), "noon is opposite to midnight"


def test_dates_are_read_as_they_are_written():
    zoned = feature("input_features", "date").fit(column("2026-01-01T02:00+02:00", "2026-01-01"))
    seconds = zoned.read(column("2026-01-01T02:00+02:00", "2026-01-01"))
    assert seconds.iloc[0] == seconds.iloc[1]
    german = feature("input_features", "date", datetime_format="%d.%m.%Y").fit(column("01.02.2026", "03.04.2026"))
    assert pd.to_datetime(german.read(column("01.02.2026")), unit="s").iloc[0] == pd.Timestamp("2026-02-01")
    typed = pd.Series(pd.to_datetime(["2026-01-01", None, "2026-01-03"]), name="a")
    read = feature("input_features", "date").fit(typed)
    assert np.isfinite(read.transform(typed)).all()
    assert read.transform(typed)[1, 0] == pytest.approx(0, abs=1e-6), "a missing one is the mean"


def test_what_is_no_date_is_named():
    with pytest.raises(DataError, match=r"column 'a', row 1: '31/12/2026' is not a date; write it in ISO 8601, as in"):
        feature("input_features", "date").fit(column("2026-12-31", "31/12/2026"))


def test_a_model_reads_and_predicts_them(tmp_path):
    drawn = np.random.default_rng(0)
    points = drawn.normal(size=(160, 2)).astype(np.float32)
    dates = pd.date_range("2026-01-01", periods=160, freq="D")
    days = list(zip(dates.day_of_week, points[:, 0], strict=True))
    table = pd.DataFrame(
        {
            "point": points.tolist(),
            "day": dates.strftime("%Y-%m-%d"),
            "marks": [["weekend"] * bool(day >= 5) + ["right"] * bool(x > 0) for day, x in days],
            "turned": np.stack([points[:, 1], -points[:, 0]], axis=1).tolist(),
        }
    )
    config = {
        "input_features": [{"name": "point", "type": "vector"}, {"name": "day", "type": "date"}],
        "output_features": [{"name": "marks", "type": "set"}, {"name": "turned", "type": "vector"}],
        "combiner": {"type": "concat", "num_fc_layers": 1},
        "trainer": {"epochs": 40, "learning_rate": 0.01, "batch_size": 16},
    }
    result = DeclarLM(config).train(table, output=tmp_path)
    found = result.metrics["test"]
    assert found["marks"]["jaccard"] > 0.8
    assert found["turned"]["cosine_similarity"] > 0.95
    assert found["turned"]["rmse"] < 0.4
    some = table.head(5)
    predicted, again = result.model.predict(some), DeclarLM.load(result.directory).predict(some)
    assert predicted.equals(again)
    assert {len(values) for values in predicted["turned_predictions"]} == {2}


@pytest.mark.parametrize("side", ["input_features", "output_features"])
def test_a_mapping_is_no_set_of_labels(side):
    with pytest.raises(DataError, match=r"column 'a', row 1: \{'x': 1\} is a mapping; write a list of texts"):
        feature(side, "set").fit(column(["x"], {"x": 1}))


def test_a_format_that_says_nothing_of_a_day_is_refused():
    with pytest.raises(ConfigError, match=r"datetime_format: says nothing of a day, got 'DD.MM.YYYY'; write it by %d"):
        feature("input_features", "date", datetime_format="DD.MM.YYYY")
