"""What every feature promises: a state that is saved, a place for each row, and answers that read back."""

import json
import typing
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plugins import config_of, of_kind, plugin

from declarlm.config import REGISTRIES
from declarlm.core import DataError
from declarlm.features.base import Raw
from declarlm.metrics import evaluate

CELLS: dict[str, list[Any]] = {
    "binary": ["yes", "no", "no", "yes", "no", "yes"],
    "category": ["Oslo", "Rome", "Oslo", "Oslo", "Paris", "Rome"],
    "number": [1.5, -2.0, 0.25, 30.0, 7.0, 7.0],
    "sequence": [["B-x", "O"], ["O"], ["B-x", "I-x", "B-y"], [], ["O", "O"], ["B-y"]],
    "json": [{"a": 1}, {"a": None, "b": [1.5]}, [], {"c": {"d": "é"}}, [True], {}],
    "set": [["a", "b"], ["a"], [], ["b", "c"], ["a"], ["c"]],
    "conversation": [
        [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
        for text in ("a", "b", "a", "c", "d", "e")
    ],
    "date": ["2026-01-31", "2026-02-01T14:05", "1999-12-31", "2026-11-27", "2030-06-01T00:00+02:00", "2026-01-31"],
    "vector": [[1.0, 2.0], [0.5, -1.0], [0.0, 0.0], [3.0, 1.0], [1.0, 1.0], [2.0, 2.0]],
    "text": ["red wine", "white wine", "red wine", "a rosé", "The End", "red"],
}
UNSEEN: dict[str, Any] = {
    "binary": "perhaps",
    "category": "Lima",
    "number": 1e6,
    "sequence": ["B-z", "O"],
    "json": {"z": "never"},
    "set": ["a", "z"],
    "conversation": [{"role": "user", "content": "never seen"}],
    "date": "2100-01-01",
    "vector": [1e6, -1e6],
    "text": "never seen",
}


def column_of(kind: str, name: str = "a") -> pd.Series:
    assert kind in CELLS, f"add cells of type {kind!r} to CELLS and UNSEEN"
    return pd.Series(CELLS[kind], index=pd.Index(["r", "r", "s", "s", "t", "u"]), name=name)


def fitted(side: str, name: str, **preprocessing: Any) -> Any:
    fill = next(
        (value for value in CELLS[name] if preprocessing.get("missing_value_strategy") == "fill_with_const"), None
    )
    known = plugin(side, name).Config.schema().fields["preprocessing"].section.schema().fields
    if fill is not None and "fill_value" in known:
        preprocessing["fill_value"] = fill == "yes" if name == "binary" else fill
    return config_of(side, name, preprocessing=preprocessing).build().fit(column_of(name))


SIDES = [(side, name) for side in ("input_features", "output_features") for name in REGISTRIES[side]]


def read(feature: Any, column: pd.Series) -> Any:
    """What a model takes of a column."""
    if hasattr(feature, "transform"):
        return [row.tolist() if hasattr(row, "tolist") else row for row in feature.transform(column)]
    if "llm" in feature.default_decoders:
        return list(feature.answers(column))
    return [row.tolist() for row in feature.targets(column)]


@pytest.mark.parametrize(("side", "name"), SIDES)
def test_a_features_state_survives_saving(side, name):
    feature = fitted(side, name)
    state = json.loads(json.dumps(feature.state.dump()))
    again = feature.config.build().restore(state)
    assert again.state == feature.state
    assert read(again, column_of(name)) == read(feature, column_of(name))


@pytest.mark.parametrize(("side", "name"), SIDES)
def test_a_feature_goes_by_position_and_not_by_index(side, name):
    feature = fitted(side, name)
    column = column_of(name)
    indexes = [pd.RangeIndex(6), pd.MultiIndex.from_product([["x", "y"], [1, 2, 3]]), pd.Index([5, 4, 3, 2, 1, 0])]
    expected = read(feature, column)
    assert len(expected) == 6
    for index in indexes:
        assert read(feature, column.set_axis(index)) == expected
    assert read(feature, column.iloc[::-1]) == expected[::-1]
    assert read(feature, column.iloc[[4]]) == [expected[4]]


@pytest.mark.parametrize(("side", "name"), SIDES)
def test_a_value_unseen_in_training_is_read_or_named(side, name):
    feature = fitted(side, name)
    column = pd.Series([CELLS[name][0], UNSEEN[name]], index=["first", "second"], name="a")
    if name == "binary":  # It has no third value.
        with pytest.raises(DataError, match="column 'a', row second: 'perhaps' is neither \"no\" nor \"yes\""):
            read(feature, column)
    else:
        assert len(read(feature, column)) == 2


def strategies(side: str, name: str) -> list[str]:
    preprocessing = plugin(side, name).Config.schema().fields["preprocessing"].section
    return list(typing.get_args(typing.get_type_hints(preprocessing)["missing_value_strategy"]))


@pytest.mark.parametrize(
    ("side", "name", "strategy"),
    [(side, name, strategy) for side, name in SIDES for strategy in strategies(side, name)],
)
def test_a_missing_cell_is_filled_or_named_under_every_strategy(side, name, strategy):
    feature = fitted(side, name, missing_value_strategy=strategy)
    column = column_of(name).astype(object)
    column.iloc[2] = None
    keep = feature.keep(column).tolist()
    assert keep == [place != 2 or strategy != "drop_row" for place in range(6)]
    if strategy in ("error", "drop_row"):
        with pytest.raises(DataError) as caught:
            read(feature, column)
        assert str(caught.value).startswith("column 'a', row s: is missing")
    else:
        found = read(feature, column)
        assert len(found) == 6
        assert [found[row] for row in (0, 1, 3, 4, 5)] == [
            read(feature, column_of(name))[row] for row in (0, 1, 3, 4, 5)
        ]


@of_kind("input_features")
def test_an_input_has_an_encoder_and_a_text(name):
    feature = fitted("input_features", name)
    assert feature.emits in plugin("encoders", feature.default_encoder).accepts
    assert REGISTRIES["encoders"].where(accepts=feature.emits)
    column = column_of(name).astype(object)
    column.iloc[1] = None
    rendered = feature.render(column)
    assert len(rendered) == 6
    assert all(isinstance(text, str) for text in rendered)
    assert rendered[1] == ""


WRITTEN = [name for name in REGISTRIES["output_features"] if "llm" in plugin("output_features", name).default_decoders]


@pytest.mark.parametrize("name", WRITTEN)
def test_an_answer_in_the_training_rows_reads_back_as_the_column(name):
    feature, column = fitted("output_features", name), column_of(name)
    answers = feature.answers(column)
    assert all(isinstance(answer, str) for answer in answers)
    columns = feature.columns(Raw(texts=answers))
    assert columns["a_predictions"] == column.tolist()
    assert {len(values) for values in columns.values()} == {6}
    measured = evaluate(name, feature.truth(column), feature.metric_prediction(Raw(texts=answers)))
    assert {metric: value for metric, value in measured.items() if value not in (0, 1)} == {}


@of_kind("output_features")
def test_an_output_has_a_decoder_and_a_loss_for_each_model_that_predicts_it(name):
    feature = fitted("output_features", name)
    for model_type, decoder in feature.default_decoders.items():
        assert {name} & plugin("decoders", decoder).accepts
        assert model_type in plugin("decoders", decoder).model_types
        loss = feature.make_loss(model_type)
        assert name in loss.accepts
        assert model_type in loss.model_types
    if "ecd" in feature.default_decoders:
        targets = feature.targets(column_of(name))
        shape = (feature.num_scores,)
        scores = [np.zeros((len(row), *shape)) for row in targets] if feature.per_word else np.zeros((6, *shape))
        columns = feature.columns(feature.raw(scores))
        assert len(targets) == 6
        assert {len(values) for values in columns.values()} == {6}
        assert "a_predictions" in columns
