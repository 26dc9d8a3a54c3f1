"""Setting values by dotted path."""

import pytest
from sample_sections import Model

from declarlm.core import ConfigError
from declarlm.core.document import Document
from declarlm.core.overrides import override
from declarlm.core.strict_yaml import parse_yaml

CONFIG = """\
base_model: starter
adapter: lora
trainer: {epochs: 3}
input_features:
  - {name: text, type: text, encoder: bert}
  - {name: trainer, type: text}
output_features:
  - {name: intent, type: category}
  - {name: both, type: category}
  - {name: both, type: number}
"""
KEYS = ["adapter", "base_model", "input_features", "output_features", "quantization", "trainer"]


def changed(*changes: str) -> Document:
    return override(parse_yaml(CONFIG, "a.yaml"), changes, keys=KEYS)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("trainer.epochs=5", lambda data: data["trainer"] == {"epochs": 5}),
        ("trainer.learning_rate=1e-4", lambda data: data["trainer"]["learning_rate"] == 1e-4),
        ("quantization.bits=4", lambda data: data["quantization"] == {"bits": 4}),
        ("adapter.r=4", lambda data: data["adapter"] == {"type": "lora", "r": 4}),
        ("adapter={type: lora, r: 4}", lambda data: data["adapter"] == {"type": "lora", "r": 4}),
        ("adapter=null", lambda data: data["adapter"] is None),
        (
            "text.encoder.trainable=true",
            lambda data: data["input_features"][0]["encoder"] == {"type": "bert", "trainable": True},
        ),
        ("intent.decoder.dropout=.5", lambda data: data["output_features"][0]["decoder"] == {"dropout": 0.5}),
        ("output_features.intent.type=set", lambda data: data["output_features"][0]["type"] == "set"),
        ("input_features[1].column=a b", lambda data: data["input_features"][1]["column"] == "a b"),
        ("input_features[0]={name: x}", lambda data: data["input_features"][0] == {"name": "x"}),
        ("base_model=org/model: v2 # no comment", lambda data: data["base_model"] == "org/model: v2 # no comment"),
        ('base_model="{x}"', lambda data: data["base_model"] == "{x}"),
        ("base_model=", lambda data: data["base_model"] is None),
        ("base_model=a=b", lambda data: data["base_model"] == "a=b"),
    ],
)
def test_path_leads_to_its_value(change, read):
    document = changed(change)
    assert not document.problems
    assert read(document.data), document.data


def test_document_itself_stays_as_it_is():
    document = parse_yaml(CONFIG)
    override(document, {"trainer.epochs": 9})
    assert document.data["trainer"] == {"epochs": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "intnt.decoder.dropout=1",
            "intnt.decoder.dropout: no section or feature is named 'intnt' (did you mean 'intent'?), choose from: "
            "adapter, base_model, both, input_features, intent, output_features, quantization, text, trainer",
        ),
        ("both.type=set", "both.type: 'both' is the name of several features; write output_features.both.type"),
        (
            "output_features.x.type=set",
            "output_features.x.type: nothing in output_features is named 'x', choose from: both, intent",
        ),
        (
            "input_features[2].type=set",
            "input_features[2].type: input_features has 2 items, the first is input_features[0]",
        ),
        ("trainer[0]=1", "trainer[0]: trainer is a mapping; write a key instead of [0]"),
        ("trainer.epochs.x=1", "trainer.epochs.x: trainer.epochs is 3, which has no parts"),
        ("trainer.epochs", "trainer.epochs: must be path=value"),
        ("=3", "must name a value"),
        ("trainer.epochs=" + "9" * 41, "trainer.epochs: must have at most 40 digits, got 41"),
        (
            "base_model={x",
            "base_model: is not YAML: did not find expected ',' or '}'"
            "; put text that starts like this in double quotes",
        ),
    ],
)
def test_change_that_leads_nowhere_is_a_problem_that_names_it(change, message):
    document = changed(change)
    assert str(ConfigError(document, document.problems)) == f"--set {change}: {message}"


def test_problem_of_a_changed_value_names_the_change_and_the_others_their_line():
    document = parse_yaml("base_model: starter\nadapter: lora\ntrainer:\n  epochs: 0\n  epohcs: 1\n", "a.yaml")
    document = override(document, ["adapter.r=0", "trainer.learning_rate=x", "nothing=1"], keys=Model.schema().fields)
    with pytest.raises(ConfigError) as caught:
        Model.load(document.data, source=document, problems=document.problems)
    assert str(caught.value).split("\n") == [
        "--set nothing=1: nothing: no section or feature is named 'nothing', choose from: adapter, adapters, "
        "base_model, betas, class_weights, encoder_adapter, options, quantization, trainer, trainers",
        "--set adapter.r=0: adapter.r: must be at least 1, got 0",
        "--set trainer.learning_rate=x: trainer.learning_rate: must be a number greater than 0 or 'auto', got 'x'",
        "a.yaml:4: trainer.epochs: must be at least 1, got 0",
        "a.yaml:5: trainer.epohcs: no parameter is named 'epohcs' (did you mean 'epochs'?), choose from: epochs, "
        "learning_rate, max_rows, min_rows, warmup_fraction",
    ]


def test_changes_of_a_mapping_keep_their_values():
    document = override(Document({"base_model": "a"}), {"trainer.epochs": 0, "base_model": "1"})
    with pytest.raises(ConfigError) as caught:
        Model.load(document.data, source=document)
    assert str(caught.value) == "overrides: trainer.epochs: must be at least 1, got 0"


def test_what_is_no_mapping_is_left_for_the_validation():
    assert override(Document([1]), {"a": 1}).data == [1]
