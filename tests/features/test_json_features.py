"""JSON outputs: cells, schemas, and answers that a model wrote."""

import json

import numpy as np
import pandas as pd
import pytest

from declarlm.core import ConfigError, DataError
from declarlm.features import Raw, output_features
from declarlm.metrics import evaluate

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"$ref": "#/$defs/size"}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"size": {"type": "integer", "minimum": 0}},
}
CELLS = pd.Series([{"name": "a", "size": 1}, '{"size":  2, "name": "é"}', {"name": "b"}], name="x")


def output(**config):
    return output_features["json"].Config.load({"name": "x", **config}).build()


def test_cells_are_objects_or_their_text_and_learned_in_one_spelling():
    expected = ['{"name": "a", "size": 1}', '{"size": 2, "name": "é"}', '{"name": "b"}']
    assert output().fit(CELLS).answers(CELLS) == expected
    expected[1] = '{"name": "é", "size": 2}'  # in the order of the schema
    assert output(json_schema=SCHEMA).fit(CELLS).answers(CELLS) == expected
    arrays = pd.Series([np.array([1, 2]), ({"a": np.array(["b"])},)], name="x")
    assert output().fit(arrays).answers(arrays) == ["[1, 2]", '[{"a": ["b"]}]']


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("{name: a}", r"row 1: '\{name: a\}' is no JSON: Expecting property name.*; write an object such as"),
        ("3", "row 1: 3 must be a JSON object or array"),
        ({"size": 1}, r"row 1: breaks json_schema: at \$: 'name' is a required property; clean the column or change"),
        ('{"name": "a", "size": -1}', r"row 1: breaks json_schema: at \$.size: -1 is less than the minimum of 0"),
        (None, "row 1: is missing; write preprocessing.missing_value_strategy: drop_row"),
    ],
)
def test_a_wrong_cell_is_named_with_its_row(cell, message):
    column = pd.Series([{"name": "a"}, cell], name="x")
    with pytest.raises(DataError, match=f"^column 'x', {message}"):
        output(json_schema=SCHEMA).fit(column).answers(column)


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ({"properties": {"a": {"type": "text"}}}, "json_schema.properties.a.type", "is no JSON Schema: 'text' is not"),
        ({"$ref": "https://example.org/a.json"}, "json_schema", "and nothing is fetched; write it under"),
    ],
)
def test_a_wrong_schema_is_an_error_of_the_config(schema, path, message):
    with pytest.raises(ConfigError) as caught:
        output(json_schema=schema)
    assert caught.value.problems[0].path == path
    assert message in caught.value.problems[0].message


def test_keys_stand_in_the_order_of_the_schema_at_any_depth():
    inner = {"properties": {"b": {}, "a": {"$ref": "#"}}}
    schema = {"properties": {"rows": {"items": {"$ref": "#/$defs/x~1y"}}, "z": True}, "$defs": {"x/y": inner}}
    cell = {"other": 1, "z": {"b": 1, "a": 2}, "rows": [{"a": {"z": 1, "rows": []}, "c": 3, "b": 4}]}
    (answer,) = output(json_schema=schema).without_rows().answers(pd.Series([cell], name="x"))
    in_order = {"rows": [{"b": 4, "a": {"rows": [], "z": 1}, "c": 3}], "z": {"b": 1, "a": 2}, "other": 1}
    assert answer == json.dumps(in_order)
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert output(json_schema=loop).without_rows().answers(pd.Series([{"b": 1}], name="x")) == ['{"b": 1}']


def test_a_schema_that_must_be_kept_but_cannot_be_is_an_error(tmp_path):
    schema = {"type": "object", "not": {"required": ["a"]}}
    decoder = {"type": "json_extractor", "constrained": True}
    message = r'decoder.constrained: json_schema cannot be followed token by token \(.*\["not"\]\); write auto'
    with pytest.raises(ConfigError, match=message):
        output(json_schema=schema, decoder=decoder)
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    with pytest.raises(ConfigError, match=rf"output_features\.x\.{message}"):
        output(json_schema=str(path), decoder=decoder).without_rows()
    assert output(json_schema=SCHEMA, decoder=decoder).without_rows()


def test_a_schema_in_a_file_is_kept_with_the_model(tmp_path):
    path = tmp_path / "schema.json"
    with pytest.raises(ConfigError, match=r"output_features\.x\.json_schema: .* cannot be read: No such file"):
        output(json_schema=str(path)).fit(CELLS)
    path.write_text(json.dumps(SCHEMA))
    feature = output(json_schema=str(path)).fit(CELLS)
    state = feature.state.dump()
    path.unlink()
    again = feature.config.build().restore(state)
    assert again.columns(Raw(texts=['{"name": "a", "size": 1.5}']))["x_valid"] == [False]


ANSWERS = ['{"name": "a", "size": 1}', 'Here: {"name": "é"} as asked', '{"size": 2}', '{"name": NaN}', "[[", "none"]


def test_answers_are_parsed_and_checked():
    feature = output(json_schema=SCHEMA).without_rows()
    columns = feature.columns(Raw(texts=ANSWERS))
    assert columns["x_predictions"] == [{"name": "a", "size": 1}, {"name": "é"}, {"size": 2}, None, None, None]
    assert columns["x_valid"] == [True, True, False, False, False, False]
    assert columns["x_response"] == ANSWERS
    strict = output(decoder={"type": "json_extractor", "whole": True}).without_rows()
    assert (
        strict.columns(Raw(texts=ANSWERS))["x_predictions"]
        == [{"name": "a", "size": 1}, None, {"size": 2}] + [None] * 3
    )


def test_metrics_count_what_is_json_keeps_the_schema_and_is_right():
    feature = output(json_schema=SCHEMA).without_rows()
    truth = pd.Series([{"size": 1.0, "name": "a"}, {"name": "b", "size": 2}, {"name": "c", "size": 2}, {"name": "d"}])
    prediction = feature.metric_prediction(Raw(texts=ANSWERS[:4]))
    assert evaluate("json", feature.truth(truth), prediction) == {
        "json_valid": 3 / 4,
        "schema_valid": 2 / 4,
        "json_exact_match": 1 / 4,
        "field_accuracy": (1 + 0 + 1 / 2 + 0) / 4,
    }


def test_a_cell_that_is_nested_without_end_is_named():
    column = pd.Series(["[" * 100_000], name="a", dtype=object)
    with pytest.raises(DataError, match=r"column 'a', row 0: .* is no JSON"):
        output_features["json"].Config.load({"name": "a"}).build().fit(column)


def test_objects_are_read_from_what_pandas_writes_of_them():
    column = pd.Series([{"name": "it's", "tags": None, "open": True}], name="a", dtype=object)
    feature = output_features["json"].Config.load({"name": "a"}).build()
    assert feature.fit(column).answers(column) == feature.answers(column.map(str))
