"""Wrong configs are answered with all that is wrong, whatever stands in them, and never with a traceback."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from declarlm import ConfigError, load_config
from declarlm.adapters.lora import LoraAdapter

LLM: dict[str, Any] = {
    "model_type": "llm",
    "base_model": "starter",
    "input_features": [{"name": "text", "type": "text", "preprocessing": {"lowercase": True}}],
    "output_features": [
        {
            "name": "label",
            "type": "category",
            "decoder": {"type": "category_extractor", "match": {"a": {"type": "contains", "value": "x"}}},
            "preprocessing": {"labels": ["a"]},
            "metrics": ["accuracy"],
        }
    ],
    "prompt": {"task": "t", "template": "{task} {text}", "answer": "{label}"},
    "adapter": {"type": "lora", "r": 8, "alpha": 16, "target_modules": ["q"], "rank_pattern": {"q": 3}},
    "quantization": {"bits": 4},
    "generation": {"max_new_tokens": 3},
    "trainer": {"type": "finetune", "optimizer": {"type": "adam"}, "learning_rate_scheduler": {"type": "linear"}},
    "preprocessing": {"split": {"type": "random", "probabilities": [0.7, 0.1, 0.2]}},
    "defaults": {"text": {"preprocessing": {"fill_value": "q"}}},
    "backend": "local",
}
ECD: dict[str, Any] = {
    "input_features": [
        {"name": "text", "type": "text", "encoder": {"type": "bert", "adapter": {"type": "lora"}}},
        {"name": "size", "type": "number", "encoder": "ple"},
        {"name": "other", "type": "text", "tied": "text"},
    ],
    "output_features": [{"name": "label", "type": "category", "loss": {"type": "softmax_cross_entropy", "weight": 2}}],
    "combiner": {"type": "comparator", "entity_1": ["text"], "entity_2": ["size", "other"]},
    "defaults": {"text": {"encoder": {"dropout": 0.1}}, "number": {"decoder": {"type": "regressor"}}},
    "trainer": {"batch_size": 4, "validation_metric": "accuracy", "validation_field": "label"},
}
SIMPLE = {"input_features": [{"name": "a", "type": "text"}], "output_features": [{"name": "b", "type": "category"}]}
NAMES = st.sampled_from(["type", "name", "text", "lora", "encoder", "label", "a"])
SCALARS = st.none() | st.booleans() | st.integers(-1, 3) | st.just(10**50) | st.floats() | NAMES | st.just(object())
WRONG = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES | st.integers(0, 1), inner, max_size=2),
    max_leaves=4,
)


def places(data: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [inner for key, value in items for inner in [(*place, key), *places(value, (*place, key))]]


@settings(max_examples=250, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nothing_that_stands_in_a_config_ends_in_another_error(data):
    config = deepcopy(data.draw(st.sampled_from([LLM, ECD])))
    *parents, last = data.draw(st.sampled_from(places(config)))
    section = config
    for key in parents:
        section = section[key]
    section[last] = data.draw(WRONG)
    with suppress(ConfigError):
        load_config(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            ECD | {"input_features": [{"name": "text", "type": ["text"]}], "combiner": "concat"},
            "config: input_features[0].type: no input feature is named ['text'] (did you mean 'text'?), "
            "choose from: binary, category, conversation, date, number, set, text, vector",
        ),
        (SIMPLE | {"model_type": ["llm"]}, "config: model_type: cannot be ['llm'], choose from: llm, ecd"),
    ],
)
def test_a_list_in_place_of_a_name_is_a_problem(config, message):
    with pytest.raises(ConfigError) as error:
        load_config(config)
    assert str(error.value) == message


def wrong(config: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_config(config)
    return [f"{problem.path}: {problem.message.split(',')[0]}" for problem in error.value.problems]


def test_every_mistake_is_a_problem_of_its_own():
    """Among them rules between sections, which a misspelled name elsewhere must not hide."""
    config = {
        "base_model": "starter",
        "input_features": [
            {"name": "text", "type": "txt"},
            {"name": "text", "type": "text"},
            {"name": "size", "type": "number", "encoder": "ple"},
        ],
        "output_features": [{"name": "label", "type": "category", "decoder": "regressor"}],
        "prompt": {"template": "{label} only"},
        "quantization": {"bits": 4},
        "trainer": {"type": "finetune", "epohcs": 3, "early_stop": 0, "validation_metric": "bleu"},
        "defaults": {"number": {"preprocessing": {"normalizatio": "zscore"}}, "image": {}},
    }
    assert sorted(wrong(config)) == [
        "defaults.image: no feature type is named 'image'",
        "input_features[0].type: no input feature is named 'txt' (did you mean 'text'?)",
        "input_features[1].name: is 'text' a second time",
        "input_features[2].encoder: belongs to model_type 'ecd'; a language model reads the column as text",
        "input_features[2].preprocessing.normalizatio: no parameter is named 'normalizatio' "
        "(did you mean 'normalization'?)",
        "output_features[0].decoder: decoder 'regressor' does not fit here: its 'accepts' is binary",
        "prompt.template: names the output 'label': the model would be shown the answer",
        "quantization: quantized weights cannot be trained; add adapter: lora",
        "trainer.early_stop: must be at least 1",
        "trainer.epohcs: no parameter is named 'epohcs' (did you mean 'epochs'?)",
        "trainer.validation_metric: no category metric is named 'bleu'",
    ]


def test_a_misspelled_type_hides_no_rule_of_the_other_features():
    config = {
        "input_features": [{"name": "a", "type": "text"}, {"name": "b", "type": "text", "tied": "zz"}],
        "output_features": [{"name": "label", "type": "categry"}],
        "combiner": {"type": "comparator", "entity_1": ["q"], "entity_2": ["a", "b"]},
    }
    assert wrong(config) == [
        "output_features[0].type: no output feature is named 'categry' (did you mean 'category'?)",
        "combiner.entity_1[0]: no input feature is named 'q'",
        "input_features[1].tied: no other input is named 'zz'",
    ]


@pytest.mark.parametrize(
    ("defaults", "problems"),
    [
        ({"number": {"preprocessing": {"normalization": "minmax"}, "loss": "huber", "encoder": {"num_bins": 3}}}, []),
        ({"category": {"preprocessing": {"labels": ["x"]}, "encoder": {"embedding_size": 3}}}, []),
        ({"binary": {"encodr": "nope"}}, ["defaults.binary.encodr: no parameter is named 'encodr'"]),
        ({"text": {"decoder": "nope"}}, ["defaults.text.decoder: no decoder is named 'nope'"]),
        (
            {"category": {"encoder": {"type": "dense", "r": 1}}},
            ["defaults.category.encoder.r: no parameter is named 'r'"],
        ),
        (
            {"text": {"name": "c", "tied": "a"}},
            [f"defaults.text.{key}: belongs to one feature; write it there" for key in ("name", "tied")],
        ),
    ],
)
def test_defaults_that_no_feature_takes_are_checked_too(defaults, problems):
    if not problems:
        assert load_config({**SIMPLE, "defaults": defaults})
    else:
        found = wrong({**SIMPLE, "defaults": defaults})
        assert [problem.split(" (did")[0] for problem in found] == problems


def test_a_default_without_a_type_goes_with_the_type_that_a_feature_names():
    config = {**SIMPLE, "input_features": [{"name": "a", "type": "text", "encoder": "embed"}]}
    loaded = load_config({**config, "defaults": {"text": {"encoder": {"embedding_size": 7}}}})
    assert loaded.input_features[0].encoder.embedding_size == 7
    config["input_features"] = [{"name": "a", "type": "text", "encoder": {"embedding_size": 9}}]
    encoder = load_config({**config, "defaults": {"text": {"encoder": "embed"}}}).input_features[0].encoder
    assert (encoder.type, encoder.embedding_size) == ("embed", 9)


def test_a_tied_input_takes_no_encoder_from_the_defaults():
    inputs = [{"name": "a", "type": "text"}, {"name": "c", "type": "text", "tied": "a"}]
    loaded = load_config({**SIMPLE, "input_features": inputs, "defaults": {"text": {"encoder": {"ngram_size": 1}}}})
    assert (loaded.input_features[0].encoder.ngram_size, loaded.input_features[1].encoder) == (1, None)


def test_a_new_adapter_that_nothing_trains_is_refused():
    config = {"base_model": "starter", "adapter": "lora", "trainer": {"type": "none"}, "prompt": {"template": "{a}"}}
    labels = {"name": "b", "type": "category", "preprocessing": {"labels": ["x", "y"]}}
    with pytest.raises(ConfigError) as error:
        load_config({**SIMPLE, **config, "output_features": [labels]})
    assert str(error.value) == (
        "config: adapter: is new, and trainer.type 'none' trains nothing; write trainer: {type: finetune}, or "
        "adapter.pretrained_adapter_weights, or leave adapter out"
    )


def test_an_adapter_that_weights_cannot_hold_is_not_merged(monkeypatch):
    monkeypatch.setattr(LoraAdapter, "can_merge", False)
    adapter = {"type": "lora", "postprocessor": {"merge_adapter_into_base_model": True}}
    encoder = {"type": "auto_transformer", "pretrained_model_name_or_path": "x", "adapter": adapter}
    texts = [{"name": "text", "type": "text", "encoder": encoder}]
    problem = "must be false: the weights of the base cannot hold what an adapter of type lora adds"
    for config, place in (
        ({**SIMPLE, "base_model": "starter", "adapter": adapter}, "adapter"),
        ({**SIMPLE, "input_features": texts}, "input_features[0].encoder.adapter"),
    ):
        with pytest.raises(ConfigError) as error:
            load_config(config)
        assert str(error.value) == f"config: {place}.postprocessor.merge_adapter_into_base_model: {problem}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter": "LoRA"}, "adapter: no adapter is named 'LoRA' (did you mean 'lora'?), "),
        ({"adapter": "None"}, "adapter: must be null where there is to be none, got 'None'"),
        (
            {"adapter": {"type": "lora", "alpha": "none"}},
            "adapter.alpha: must be a number greater than 0, got 'none'; w",
        ),
        (
            {"adapter": {"type": "lora", "use_rslora": "yes"}},
            "adapter.use_rslora: must be true or false, got 'yes'; wri",
        ),
        ({"quantization": 4}, "quantization: must be a mapping of parameter names to values, got 4; write {bits: 4}"),
        (
            {"prompt": "{text}"},
            "prompt: must be a mapping of parameter names to values, got '{text}'; its parameters: ",
        ),
        ({"learning_rate": 1}, "learning_rate: no parameter is named 'learning_rate' (did you mean 'trainer.learning_"),
        (
            {"trainer": {"batch_size": "8"}},
            "trainer.batch_size: must be an integer at least 1 or 'auto', got '8'; remo",
        ),
        (
            {"trainer": {"optimizer": "AdamW"}},
            "trainer.optimizer: no optimizer is named 'AdamW' (did you mean 'adamw'?",
        ),
        ({"dtype": "float32"}, "dtype: cannot be 'float32' (did you mean 'fp32'?), choose from: "),
    ],
)
def test_what_is_nearly_right_is_answered_with_what_to_write(change, message):
    base = SIMPLE | {"base_model": "starter"}
    with pytest.raises(ConfigError) as error:
        load_config(base | change)
    (problem,) = error.value.problems
    assert str(problem).startswith(message)


def test_a_parameter_of_a_section_inside_is_found_there():
    config = SIMPLE | {"output_features": [{"name": "b", "type": "set", "separator": ","}]}
    assert wrong(config) == [
        "output_features[0].separator: no parameter is named 'separator' (did you mean 'preprocessing.separator'?)"
    ]


def test_the_beginning_of_a_name_is_enough_to_find_it():
    metrics = [{"name": "b", "type": "category", "metrics": ["acc"]}]
    assert wrong(SIMPLE | {"output_features": metrics}) == [
        "output_features[0].metrics[0]: no category metric is named 'acc' (did you mean 'accuracy'?)"
    ]


def test_dora_without_dora_is_refused():
    adapter = {"type": "dora", "use_dora": False}
    assert wrong(SIMPLE | {"base_model": "starter", "adapter": adapter}) == [
        "adapter.use_dora: must be true for adapter dora; leave it out"
    ]


def test_an_odd_rank_of_one_layer_is_named_where_it_is_written():
    adapter = {"type": "lora", "init_lora_weights": "orthogonal", "r": 8, "rank_pattern": {"q_proj": 3}}
    assert wrong(SIMPLE | {"base_model": "starter", "adapter": adapter}) == [
        "adapter.rank_pattern.q_proj: must be even for init_lora_weights: orthogonal"
    ]
