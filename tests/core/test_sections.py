"""Sections: one declaration, many uses."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_sections import Lora, Model, PromptTuning, Quantization, Trainer, problems

from declarlm.core import ConfigError, Problem, Section, param

CONFIG = {
    "base_model": "starter",
    "adapter": "lora",
    "adapters": [{"type": "prompt", "name": "a", "num_tokens": 4}, {"type": "lora", "name": "b", "alpha": 3}],
    "quantization": {"bits": 8},
    "trainer": {"learning_rate": 1, "epochs": 5},
    "trainers": {"slow": {"learning_rate": 1e-5}},
    "class_weights": {"yes": 2},
    "options": {"nested": [{"deep": None}]},
}


def test_dump_is_the_inverse_of_load():
    config = Model.load(CONFIG)
    assert Model.load(config.dump()) == config


def test_dump_is_plain_data_with_every_default():
    assert Model.load(CONFIG).dump() == {
        "base_model": "starter",
        "adapter": {"type": "lora", "name": None, "r": 8, "alpha": None, "target_modules": "auto"},
        "adapters": [
            {"type": "prompt", "name": "a", "num_tokens": 4},
            {"type": "lora", "name": "b", "r": 8, "alpha": 3.0, "target_modules": "auto"},
        ],
        "encoder_adapter": {"type": "lora", "name": None, "r": 8, "alpha": None, "target_modules": "auto"},
        "quantization": {"bits": 8, "double": True},
        "trainer": {"learning_rate": 1.0, "epochs": 5, "warmup_fraction": 0.0, "min_rows": 1, "max_rows": 8},
        "trainers": {
            "slow": {"learning_rate": 1e-5, "epochs": 3, "warmup_fraction": 0.0, "min_rows": 1, "max_rows": 8}
        },
        "class_weights": {"yes": 2.0},
        "betas": [0.9, 0.999],
        "options": {"nested": [{"deep": None}]},
    }


def test_plugin_is_named_by_a_string_or_a_mapping_with_a_type():
    assert Model.load(CONFIG).adapter == Lora.Config()
    assert Model.load({**CONFIG, "adapter": {"type": "lora"}}).adapter == Lora.Config()
    assert isinstance(Model.load(CONFIG).adapters[0], PromptTuning.Config)


def test_mapping_without_a_type_means_the_default_plugin():
    config = Model.load({"base_model": "starter", "encoder_adapter": {"r": 2}})
    assert config.encoder_adapter == Lora.Config(r=2)


def test_integer_for_a_float_becomes_a_float():
    value = Model.load(CONFIG).trainer.learning_rate
    assert (value, type(value)) == (1.0, float)


def test_numpy_numbers_become_plain_ones():
    trainer = Trainer.load({"epochs": np.int64(4), "learning_rate": np.float32(0.5)})
    assert (type(trainer.epochs), type(trainer.learning_rate)) == (int, float)


def test_section_is_immutable():
    with pytest.raises(AttributeError):
        Trainer().epochs = 3  # type: ignore[misc]


def test_loaded_section_does_not_share_data_with_what_it_was_loaded_from():
    data = {"base_model": "starter", "options": {"a": [1]}}
    config = Model.load(data)
    data["options"]["a"].append(2)
    config.dump()["options"]["a"].append(3)
    assert config.options == {"a": [1]}


def test_two_sections_do_not_share_a_default():
    first, second = Model.load({"base_model": "a"}), Model.load({"base_model": "a"})
    first.betas.append(1.0)
    assert second.betas == [0.9, 0.999]


def test_replaced_parameter_is_validated():
    assert Trainer().replace(epochs=7).epochs == 7
    with pytest.raises(ConfigError, match="epochs: must be at least 1, got 0"):
        Trainer().replace(epochs=0)


def test_build_makes_the_plugin_of_the_section():
    class Made:
        def __init__(self, config: Any, width: int) -> None:
            self.config, self.width = config, width

        class Config(Section):
            pass

    Made.Config.plugin = Made
    made = Made.Config().build(width=3)
    assert (type(made), made.width) == (Made, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"epochs": True}, "epochs: must be an integer at least 1, got True"),
        ({"epochs": 3.0}, "epochs: must be an integer at least 1, got 3.0"),
        ({"epochs": "3"}, "epochs: must be an integer at least 1, got '3'; remove the quotes"),
        ({"epochs": None}, "epochs: must not be null"),
        ({"epochs": 0}, "epochs: must be at least 1, got 0"),
        ({"warmup_fraction": False}, "warmup_fraction: must be a number at least 0 and at most 1, got False"),
        ({"warmup_fraction": math.nan}, "warmup_fraction: must be finite, got nan"),
        ({"warmup_fraction": 10**400}, f"warmup_fraction: must be finite, got {'1' + '0' * 76}..."),
        ({"warmup_fraction": 2}, "warmup_fraction: must be at most 1, got 2.0"),
        ({"learning_rate": 0}, "learning_rate: must be a number greater than 0 or 'auto', got 0"),
        ({"learning_rate": math.inf}, "learning_rate: must be a number greater than 0 or 'auto', got inf"),
        ({"learning_rate": "1e-4"}, "learning_rate: must be a number greater than 0 or 'auto', got '1e-4'"),
    ],
)
def test_number_is_what_it_says_it_is(data, message):
    assert problems(Trainer, data) == [message]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"bits": 4.0}, "bits: cannot be 4.0, choose from: 4, 8"),
        ({"bits": "4"}, "bits: cannot be '4', choose from: 4, 8; remove the quotes"),
        ({"bits": 3}, "bits: cannot be 3, choose from: 4, 8"),
        ({"bits": True}, "bits: cannot be True, choose from: 4, 8"),
        ({"double": 1}, "double: must be true or false, got 1"),
        ({"double": 0.0}, "double: must be true or false, got 0.0"),
        ({"double": "yes"}, "double: must be true or false, got 'yes'; write true"),
        ({"bit": 4}, "bit: no parameter is named 'bit' (did you mean 'bits'?), choose from: bits, double"),
        ({7: 4}, "7: no parameter is named 7, choose from: bits, double"),
        (3, "must be a mapping of parameter names to values, got 3; its parameters: bits, double"),
        (8, "must be a mapping of parameter names to values, got 8; write {bits: 8}"),
        (None, "must be a mapping of parameter names to values, got None; its parameters: bits, double"),
    ],
)
def test_choice_and_switch_are_what_they_say_they_are(data, message):
    assert problems(Quantization, data) == [message]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"base_model": "A b"}, "base_model: must match [a-z0-9/._-]+, got 'A b'"),
        ({"betas": {0.9}}, "betas: must be a list of numbers, got {0.9}"),
        ({"betas": 0.9}, "betas: must be a list of numbers, got 0.9"),
        ({"betas": [0.9, "x"]}, "betas[1]: must be a number at least 0 and less than 1, got 'x'"),
        ({"betas": [0.9, None]}, "betas[1]: must not be null"),
        ({"class_weights": {"yes": -1}}, "class_weights.yes: must be at least 0, got -1.0"),
        ({"class_weights": {1: 2}}, "class_weights: must be a mapping, got {1: 2}"),
        ({"class_weights": [1]}, "class_weights: must be a mapping, got [1]"),
        ({"trainers": {"slow": {"epochs": 0}}}, "trainers.slow.epochs: must be at least 1, got 0"),
        (
            {"quantization": "4bit"},
            "quantization: must be a mapping of parameter names to values, got '4bit'; its parameters: bits, double",
        ),
        ({"trainer": None}, "trainer: must not be null"),
        ({"options": {"a": [{1}]}}, "options.a: must be plain data, got [{1}]"),
        (
            {"adapter": "lorra"},
            "adapter: no adapter is named 'lorra' (did you mean 'lora'?), choose from: lora, prompt",
        ),
        ({"adapter": {"type": "x"}}, "adapter.type: no adapter is named 'x', choose from: lora, prompt"),
        ({"adapter": {"type": ["x"]}}, "adapter.type: no adapter is named ['x'], choose from: lora, prompt"),
        ({"adapter": {"r": 4}}, "adapter.type: is required, choose from: lora, prompt"),
        ({"adapter": 3}, "adapter: must be the name of an adapter or a mapping with it under 'type', got 3"),
        ({"adapter": "prompt"}, "adapter.num_tokens: is required"),
        (
            {"adapter": {"type": "lora", "target_modules": ["q", 1]}},
            "adapter.target_modules: must be a string or a list of strings, got ['q', 1]",
        ),
        (
            {"adapters": [{"type": "lora", "name": "a", "rr": 3}]},
            "adapters[0].rr: no parameter is named 'rr' (did you mean 'r'?)"
            ", choose from: alpha, name, r, target_modules",
        ),
        (
            {"encoder_adapter": "prompt"},
            "encoder_adapter: adapter 'prompt' does not fit here: its 'backbones' is causal, not encoder"
            ", choose from: lora",
        ),
    ],
)
def test_message_names_path_cause_and_remedy(data, message):
    assert problems(Model, {"base_model": "starter", **data}) == [message]


def test_missing_parameter_is_reported():
    assert problems(Model, {}) == ["base_model: is required"]


def test_all_problems_are_reported_at_once():
    found = problems(
        Model,
        {
            "base_modle": "starter",
            "adapter": "lorra",
            "adapters": ["lora", {"type": "prompt", "name": "b"}],
            "quantization": {"bits": 3, "doubel": True},
            "trainer": {"epochs": 0, "min_rows": 9, "learning_rate": "fast"},
            "betas": [1, 2],
        },
    )
    assert found == [
        "base_model: is required",
        "adapter: no adapter is named 'lorra' (did you mean 'lora'?), choose from: lora, prompt",
        "adapters[1].num_tokens: is required",
        "quantization.bits: cannot be 3, choose from: 4, 8",
        "quantization.doubel: no parameter is named 'doubel' (did you mean 'double'?), choose from: bits, double",
        "trainer.learning_rate: must be a number greater than 0 or 'auto', got 'fast'",
        "trainer.epochs: must be at least 1, got 0",
        "trainer.min_rows: must be at most max_rows (8), got 9",
        "betas[0]: must be less than 1, got 1.0",
        "betas[1]: must be less than 1, got 2.0",
        "base_modle: no parameter is named 'base_modle' (did you mean 'base_model'?), choose from: adapter, adapters, "
        "base_model, betas, class_weights, encoder_adapter, options, quantization, trainer, trainers",
        "adapters[0].name: is required where there are several",
    ]


def test_rule_sees_the_default_of_a_parameter_that_is_wrong():
    assert problems(Trainer, {"min_rows": 9, "max_rows": "many"}) == [
        "max_rows: must be an integer at least 1, got 'many'",
        "min_rows: must be at most max_rows (8), got 9",
    ]


def test_rule_is_silent_about_a_place_that_has_a_problem_already():
    assert problems(Trainer, {"min_rows": 9, "max_rows": 2, "epochs": 0}) == [
        "epochs: must be at least 1, got 0",
        "min_rows: must be at most max_rows (2), got 9",
    ]
    assert problems(Trainer, {"min_rows": 9.0, "max_rows": 0}) == [
        "min_rows: must be an integer at least 1, got 9.0",
        "max_rows: must be at least 1, got 0",
    ]


def test_rule_may_speak_of_a_section_with_problems_of_its_own():
    class Outer(Section):
        inner: Quantization = param("Inner.", default=Quantization())

        def check(self):
            yield Problem("inner", "is always wrong")
            yield Problem("", "so is all of it")

    assert problems(Outer, {"inner": {"bits": 3}}) == [
        "inner.bits: cannot be 3, choose from: 4, 8",
        "inner: is always wrong",
        "so is all of it",
    ]


def test_rule_does_not_take_an_unreadable_adapter_for_none():
    assert problems(Model, {"base_model": "a", "adapter": "lorra", "quantization": {}}) == [
        "adapter: no adapter is named 'lorra' (did you mean 'lora'?), choose from: lora, prompt"
    ]


def test_rule_that_needs_an_unreadable_value_is_left_out():
    class Pair(Section):
        first: int = param("One.")
        second: int = param("Other.")

        def check(self):
            yield Problem("second", "is reported before")
            if self.first + 1 > self.second:
                yield Problem("first", "cannot be known")
            yield Problem("second", "is not reached")

    assert problems(Pair, {"second": 1}) == ["first: is required", "second: is reported before"]


def test_default_that_its_own_rules_refuse_is_a_mistake_of_the_programmer():
    class Wrong(Section):
        rank: int = param("Rank.", default=0, min=1)

    with pytest.raises(TypeError, match=r"default of .*Wrong\.rank: \['must be at least 1, got 0'\]"):
        Wrong.schema()


def test_parameter_of_an_unknown_kind_is_a_mistake_of_the_programmer():
    class Wrong(Section):
        ranks: set[int] = param("Ranks.")

    with pytest.raises(TypeError, match=r"a parameter cannot be of type set\[int\]"):
        Wrong.schema()


class Everything(Section):
    flag: bool = param("A switch.", default=False)
    count: int = param("A count.", default=1, min=-5, max=5)
    share: float = param("A share.", default=0.5, above=-1, below=1)
    text: str = param("A text.", default="")
    kind: Literal["a", "b", 3] = param("A kind.", default="a")
    either: int | Literal["auto"] | None = param("Either.", default=None)
    names: str | list[str] = param("Names.", default="all")
    table: dict[str, list[int]] = param("Table.", default={})


_WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.sampled_from(["a", "auto", 3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*Everything.schema().fields, "other"]), _WILD))
def test_whatever_loads_survives_dump_and_load_and_the_rest_is_refused_with_its_place(data):
    try:
        section = Everything.load(data)
    except ConfigError as error:
        places = {problem.path.replace("[", ".").split(".")[0] for problem in error.problems}
    else:
        places = set()
        assert Everything.load(section.dump()) == section
        assert {key: section.dump()[key] for key in data} == data
    assert places <= set(data)
