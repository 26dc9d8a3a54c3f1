"""A whole config: what it is complete with, that it loads from its own dump, and its JSON Schema."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from generated_configs import sections
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from declarlm import ConfigError, ModelConfig, load_config
from declarlm.config import REGISTRIES, EcdConfig, LlmConfig, config_schema

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.yaml") if "input_features:" in path.read_text())
VALIDATOR = jsonschema.Draft7Validator(config_schema())
TEXT, LABEL = {"name": "text", "type": "text"}, {"name": "label", "type": "category"}


def llm(**changes: Any) -> dict[str, Any]:
    return {"base_model": "starter", "input_features": [TEXT], "output_features": [LABEL], **changes}


def ecd(**changes: Any) -> dict[str, Any]:
    tagged = any(output["type"] == "sequence" for output in changes.get("output_features", []))
    text = {**TEXT, "encoder": "embed"} if tagged else TEXT  # Only some encoders see words.
    return {"input_features": [text], "output_features": [LABEL], **changes}


def predicted(part: dict[str, Any]) -> dict[str, Any]:
    """A config with an output of a type that a language model may not predict."""
    made = llm if "llm" in REGISTRIES["output_features"][part["type"]].default_decoders else ecd
    return made(output_features=[{"name": "a", **part}])


def assert_loads_from_its_dump(config: ModelConfig) -> None:
    dumped = config.dump()
    assert ModelConfig.load(dumped) == config
    assert json.loads(json.dumps(dumped)) == dumped
    assert load_config(dumped) == config
    VALIDATOR.validate(dumped)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_example_is_valid_and_loads_from_its_dump(path):
    assert_loads_from_its_dump(load_config(path))
    VALIDATOR.validate(yaml.safe_load(path.read_text()))


def two_texts(combiner: dict[str, Any]) -> dict[str, Any]:
    """A config of two inputs, which a combiner of pairs must name."""
    entities = {"entity_1": ["text"], "entity_2": ["other"]} if "entity_1" in combiner else {}
    return ecd(input_features=[TEXT, {**TEXT, "name": "other"}], combiner={**combiner, **entities})


def learned(trainer: dict[str, Any]) -> dict[str, Any]:
    """A config of the kind of model that an objective is for."""
    objective = REGISTRIES["objectives"][trainer["type"]]
    if "llm" in objective.model_types:
        label = {**LABEL, "type": "text"} if trainer["type"] == "grpo" else LABEL
        return llm(trainer=trainer, output_features=[label] * objective.needs_outputs)
    return ecd(trainer=trainer, input_features=[{**TEXT, "encoder": "embed"}])  # one with weights that train


PLACES = {
    "input_features": lambda part: ecd(input_features=[{"name": "a", **part}]),
    "output_features": predicted,
    "combiners": two_texts,
    "adapters": lambda part: llm(adapter=part),
    "objectives": learned,
    "rewards": lambda part: learned({"type": "grpo", "rewards": [part]}),
    "optimizers": lambda part: llm(trainer={"optimizer": part}),
    "schedules": lambda part: ecd(trainer={"learning_rate_scheduler": part}),
    "splits": lambda part: ecd(preprocessing={"split": part}),
    "backends": lambda part: ecd(backend=part),
    "searchers": lambda part: ecd(hyperopt={"parameters": SEARCHED, "search_alg": part}),
    "executors": lambda part: ecd(hyperopt={"parameters": SEARCHED, "executor": part}),
    "trial_schedulers": lambda part: ecd(hyperopt={"parameters": SEARCHED, "executor": {"scheduler": part}}),
}
STEPS = {"space": "quniform", "lower": 0.1, "upper": 0.4, "q": 0.1}  # which every searcher can search
SEARCHED = {"trainer.learning_rate": STEPS, "combiner.dropout": STEPS}
FEATURE_PARTS = {"encoders": "input_features", "decoders": "output_features", "losses": "output_features"}


def whole_configs(kind: str, part: dict[str, Any]) -> list[dict[str, Any]]:
    """Every config in which a plugin may stand: for a part of a feature, one for each type that it accepts."""
    if kind in PLACES:
        return [PLACES[kind](part)]
    plugin, side = REGISTRIES[kind][part["type"]], FEATURE_PARTS[kind]
    makers = {"llm": llm, "ecd": ecd}
    return [
        makers[model_type](**{side: [{"name": "a", "type": feature, kind.rstrip("s").replace("losse", "loss"): part}]})
        for feature in sorted(plugin.accepts)
        for model_type in sorted(getattr(plugin, "model_types", {"ecd"}))
        if side == "input_features" or model_type in REGISTRIES[side][feature].default_decoders
    ]


# Spaces must fit the parameter that they are for: see tests/hyperopt/test_section.py.
PLUGINS = [(kind, name) for kind in REGISTRIES if kind not in ("metrics", "spaces") for name in REGISTRIES[kind]]


@pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=lambda part: part)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_config_with_any_plugin_loads_from_its_dump(kind, name, data):
    part = data.draw(sections(REGISTRIES[kind][name].Config, type=name))
    part.pop("name", None)
    for raw in whole_configs(kind, part):
        try:
            config = load_config(deepcopy(raw))
        except ConfigError:
            assume(False)
        VALIDATOR.validate(raw)
        assert_loads_from_its_dump(config)


@pytest.mark.parametrize("kind", [LlmConfig, EcdConfig])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_config_with_any_sections_loads_from_its_dump(kind, data):
    whole = llm() if kind is LlmConfig else ecd()
    fixed = dict.fromkeys(["model_type", "input_features", "output_features", "base_model", "architecture"])
    drawn = data.draw(sections(kind, **fixed))
    raw = {**whole, **{key: value for key, value in drawn.items() if key not in fixed and key != "defaults"}}
    try:
        config = load_config(deepcopy(raw))
    except ConfigError:
        assume(False)
    assert_loads_from_its_dump(config)
    VALIDATOR.validate(raw)


def test_a_config_is_complete_with_the_defaults_of_a_specialist():
    dumped = load_config(llm(adapter="lora")).dump()
    assert (dumped["model_type"], dumped["seed"]) == ("llm", 42)
    assert {key: dumped["adapter"][key] for key in ("type", "r", "alpha", "target_modules")} == {
        "type": "lora",
        "r": 16,
        "alpha": 32,
        "target_modules": "auto",
    }
    trainer = dumped["trainer"]
    assert (trainer["type"], trainer["epochs"], trainer["learning_rate"]) == ("finetune", 3, 2e-4)
    assert trainer["learning_rate_scheduler"]["type"] == "cosine"
    assert trainer["learning_rate_scheduler"]["warmup_fraction"] == 0.03
    assert dumped["output_features"][0]["decoder"]["type"] == "category_extractor"
    assert dumped["generation"]["max_new_tokens"] == "auto"


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        ({}, "trainer.type", "none"),
        ({"trainer": {}}, "trainer.type", "finetune"),
        ({"trainer": "pretrain", "output_features": []}, "trainer.type", "pretrain"),
        ({"adapter": "lora"}, "trainer.type", "finetune"),
        ({"adapter": "qlora"}, "quantization.bits", 4),
        ({"adapter": {"type": "lora", "r": 4}}, "adapter.alpha", 8),
        ({"adapter": {"type": "lora", "r": 4, "alpha": 1}}, "adapter.alpha", 1),
        ({"adapter": "lora", "trainer": {"learning_rate": 0.5}}, "trainer.learning_rate", 0.5),
        ({"trainer": {"type": "finetune"}}, "trainer.learning_rate", 2e-5),
        ({"$schema": "config.schema.json"}, "seed", 42),
    ],
)
def test_what_a_config_leaves_unsaid_is_filled_in(changes, path, value):
    found: Any = load_config(llm(**changes)).dump()
    for key in path.split("."):
        found = found[key]
    assert found == value


def test_defaults_lie_under_every_feature_of_their_type():
    config = load_config(
        {
            "input_features": [
                {"name": "a", "type": "text"},
                {"name": "b", "type": "text", "encoder": {"type": "parallel_cnn", "num_filters": 3}},
                {"name": "c", "type": "text", "encoder": "tf_idf"},
            ],
            "output_features": [{"name": "d", "type": "category"}],
            "defaults": {
                "text": {
                    "encoder": {"type": "parallel_cnn", "embedding_size": 7},
                    "preprocessing": {"lowercase": True},
                },
                "category": {"loss": {"type": "softmax_cross_entropy", "weight": 2.0}},
            },
        }
    )
    first, second, third = config.input_features
    assert (first.encoder.type, first.encoder.embedding_size) == ("parallel_cnn", 7)
    assert (second.encoder.num_filters, second.encoder.embedding_size) == (3, 7)
    assert third.encoder.type == "tf_idf"
    assert all(feature.preprocessing.lowercase for feature in config.input_features)
    assert config.output_features[0].loss.weight == 2.0


def test_overrides_name_features_and_come_last():
    config = load_config(
        llm(adapter="lora", seed=1), {"adapter.r": 4, "label.preprocessing.lowercase": True, "seed": 2}
    )
    assert (config.adapter.r, config.adapter.alpha, config.seed) == (4, 8, 2)
    assert config.output_features[0].preprocessing.lowercase
    assert load_config(ecd(), ["text.encoder=tf_idf"]).input_features[0].encoder.type == "tf_idf"


@pytest.mark.parametrize(
    ("side", "kind", "key", "part", "misspelled"),
    [
        ("input_features", "text", "encoder", {"ngram_size": 1}, {"ngram_sise": 1}),
        ("input_features", "text", "encoder", {}, {"ngram_size": "1"}),
        ("input_features", "category", "encoder", {"embedding_size": 3}, {"embedding": 3}),
        ("output_features", "category", "loss", {"class_weights": "balanced"}, {"class_weight": "balanced"}),
        ("output_features", "number", "loss", {"weight": 2.5}, {"weight": -1}),
        ("output_features", "category", "decoder", {"num_fc_layers": 1}, {"num_fc_layer": 1}),
        ("output_features", "number", "decoder", {"clip": [0, 1]}, {"clips": [0, 1]}),
    ],
)
def test_the_schema_reads_a_part_without_a_type_as_loading_does(side, kind, key, part, misspelled):
    for config in (ecd, llm):
        right = config(**{side: [{"name": "a", "type": kind, key: part}]})
        with suppress(ConfigError):
            assert load_config(deepcopy(right))
            VALIDATOR.validate(right)
    assert load_config(ecd(**{side: [{"name": "a", "type": kind, key: part}]}))
    wrong = ecd(**{side: [{"name": "a", "type": kind, key: misspelled}]})
    assert [list(error.absolute_path)[:3] for error in VALIDATOR.iter_errors(wrong)] == [[side, 0, key]]
    with pytest.raises(ConfigError):
        load_config(wrong)


@pytest.mark.parametrize(
    "config",
    [
        ecd(trainer=None),
        ecd(model_type=None),
        llm(model_type=None),
        llm(trainer={"learning_rate": None}),
        ecd(base_model=None),
        ecd(architecture=None),
        llm(combiner=None),
        ecd(adapter=None),
    ],
)
def test_the_schema_takes_null_where_loading_does(config):
    accepted = True
    try:
        load_config(deepcopy(config))
    except ConfigError:
        accepted = False
    assert VALIDATOR.is_valid(config) == accepted


def test_the_schema_reads_a_part_without_a_type_beside_the_type_of_the_defaults():
    config = {
        **ecd(input_features=[{**TEXT, "encoder": {"num_filters": 3}}]),
        "defaults": {"text": {"encoder": "parallel_cnn"}},
    }
    assert load_config(deepcopy(config)).input_features[0].encoder.num_filters == 3
    VALIDATOR.validate(config)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (llm(combiner="concat"), []),
        (ecd(prompt={"task": "x"}), []),
        (ecd(adapter="lora"), []),
        (llm(trainer={"epohcs": 3}), ["trainer"]),
        (llm(adapter={"type": "lora", "r": 0}), ["adapter"]),
        (llm(model_type="gpt"), ["model_type"]),
        (ecd(input_features=[{"name": "a", "type": "texts"}]), ["input_features", 0, "type"]),
        ({"output_features": [LABEL]}, []),
    ],
)
def test_the_schema_refuses_what_loading_refuses(config, path):
    with pytest.raises(ConfigError):
        load_config(config)
    places = [list(error.absolute_path) for error in VALIDATOR.iter_errors(config)]
    assert any(place[: len(path)] == path for place in places)


def test_a_config_cannot_be_changed():
    config = load_config(llm())
    with pytest.raises(AttributeError):
        config.seed = 3
    assert config.replace(seed=3).seed == 3
