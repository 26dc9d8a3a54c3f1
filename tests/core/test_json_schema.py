"""The exported JSON Schema agrees with what loads, judged by the jsonschema package."""

from __future__ import annotations

import json
import math
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_sections import Model, Trainer, problems

from declarlm.core.json_schema import json_schema

SCHEMA = json_schema(Model)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def accepts(data: Any) -> bool:
    return VALIDATOR.is_valid(data)


def test_schema_is_draft_07_and_plain_json():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "$defs" not in SCHEMA


def test_parameter_has_its_description_bounds_and_default():
    assert SCHEMA["definitions"]["sample_sections.Trainer"]["properties"]["warmup_fraction"] == {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "Share of the steps that warm up.",
        "default": 0.0,
    }
    assert SCHEMA["properties"]["betas"]["items"] == {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    assert SCHEMA["properties"]["encoder_adapter"]["default"] == "lora"
    assert SCHEMA["required"] == ["base_model"]


def test_plugin_is_described_by_its_docstring():
    assert SCHEMA["definitions"]["adapter.lora"]["description"] == "Train a low-rank update."


def test_wrong_key_of_a_plugin_is_the_only_complaint():
    (error,) = VALIDATOR.iter_errors({"base_model": "a", "trainer": {"epohcs": 3}})
    assert (list(error.path), error.message) == (
        ["trainer"],
        "Additional properties are not allowed ('epohcs' was unexpected)",
    )


@pytest.mark.parametrize(
    "data",
    [
        {"adapter": "lora"},
        {"adapter": None},
        {"adapter": {"type": "prompt", "num_tokens": 3}},
        {"encoder_adapter": {"r": 3}},
        {"adapters": ["lora", {"type": "lora"}]},
        {"quantization": {}, "adapter": "lora"},
        {"options": {"a": [None, {"b": 1}]}},
        {"class_weights": {"yes": 1}},
    ],
)
def test_shorthands_are_accepted(data):
    data = {"base_model": "starter", **data}
    assert accepts(data)
    assert not [problem for problem in problems(Model, data) if "where there are several" not in problem]


def test_a_plugin_that_is_found_out_later_needs_no_name():
    validator = jsonschema.Draft7Validator(json_schema(Model, untyped=["adapter"]))
    for part, right in [
        ({"r": 3}, True),
        ({"num_tokens": 3}, True),
        ({"r": 3, "num_tokens": 3}, False),
        ({"rr": 3}, False),
    ]:
        assert validator.is_valid({"base_model": "a", "adapter": part}) == right
        assert not validator.is_valid({"base_model": "a", "adapters": [part]})


@pytest.mark.parametrize(
    "data",
    [
        {"adapter": "lorra"},
        {"adapter": "prompt"},
        {"adapter": {"r": 3}},
        {"adapter": {"type": "lora", "num_tokens": 3}},
        {"encoder_adapter": {"num_tokens": 3}},
        {"encoder_adapter": None},
        {"encoder_adapter": "prompt"},
        {"quantization": {"bits": 3}},
        {"base_model": "A"},
        {"betas": [1]},
        {"unknown": 1},
    ],
)
def test_what_does_not_load_is_refused(data):
    data = {"base_model": "starter", **data}
    assert not accepts(data)
    assert problems(Model, data)


def _numbers_are_clear(data: Any) -> bool:
    """Whether no float is an integer, which JSON does not tell apart, or not finite, which it lacks."""
    if isinstance(data, dict):
        return all(map(_numbers_are_clear, data.values()))
    if isinstance(data, list):
        return all(map(_numbers_are_clear, data))
    return not isinstance(data, float) or (math.isfinite(data) and not data.is_integer())


_SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(-1, 2)
    | st.sampled_from(["a", "auto", "lora", "prompt", "B"])
)
_ADAPTER = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["lora", "prompt", "x"]),
        "r": _SCALAR,
        "alpha": _SCALAR,
        "num_tokens": _SCALAR,
        "name": _SCALAR,
        "target_modules": _SCALAR | st.lists(_SCALAR, max_size=2),
    },
)
_TRAINER = st.fixed_dictionaries(
    {}, optional={"learning_rate": _SCALAR, "epochs": _SCALAR, "warmup_fraction": _SCALAR, "x": _SCALAR}
)
_MODEL = st.fixed_dictionaries(
    {"base_model": st.sampled_from(["a", "b/c"]) | _SCALAR},
    optional={
        "adapter": _ADAPTER | _SCALAR,
        "adapters": st.lists(_ADAPTER, max_size=2) | _SCALAR,
        "encoder_adapter": _ADAPTER | _SCALAR,
        "quantization": st.fixed_dictionaries(
            {}, optional={"bits": st.sampled_from([3, 4, 8, "4", True]), "double": _SCALAR}
        )
        | _SCALAR,
        "trainer": _TRAINER | _SCALAR,
        "trainers": st.dictionaries(st.text(max_size=2), _TRAINER, max_size=2) | _SCALAR,
        "class_weights": st.dictionaries(st.text(max_size=2), _SCALAR, max_size=2) | _SCALAR,
        "betas": st.lists(_SCALAR, max_size=3) | _SCALAR,
        "options": st.dictionaries(st.text(max_size=2), _SCALAR, max_size=2) | _SCALAR,
    },
).filter(_numbers_are_clear)
_RULES = ("is required where there are several", "quantized weights cannot be trained", "must be at most max_rows")


@settings(max_examples=500, deadline=None)
@given(_MODEL)
def test_schema_accepts_exactly_what_loads(data):
    found = [problem for problem in problems(Model, data) if not problem.endswith(_RULES)]
    assert accepts(data) == (not found), found


@settings(max_examples=100, deadline=None)
@given(_TRAINER.filter(_numbers_are_clear))
def test_dumped_section_is_accepted(data):
    if not problems(Trainer, data):
        assert accepts({"base_model": "a", "trainer": Trainer.load(data).dump()})
