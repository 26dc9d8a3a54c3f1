"""Nothing in a config is accepted without effect: each key works, or is refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from declarlm import ConfigError, load_config
from declarlm.core.strict_yaml import parse_yaml

TEXT, LABEL = {"name": "text", "type": "text"}, {"name": "label", "type": "category"}


def llm(**changes: Any) -> dict[str, Any]:
    return {"base_model": "starter", "input_features": [TEXT], "output_features": [LABEL], **changes}


def ecd(**changes: Any) -> dict[str, Any]:
    return {"input_features": [TEXT], "output_features": [LABEL], **changes}


def feature(kind: str, **preprocessing: Any) -> list[dict[str, Any]]:
    return [{"name": "a", "type": kind, "preprocessing": preprocessing}]


def problems(config: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_config(config)
    return [str(problem) for problem in error.value.problems]


UNREAD = "has no effect on model_type 'llm'; "
AS_IT_IS = "leave it out, the cell stands in the prompt as it is, a missing one as an empty text"
MERGED = {"type": "lora", "postprocessor": {"merge_adapter_into_base_model": True}}
RAW = "has no effect: trainer.type 'pretrain' learns the raw text of one column"
OR_FINETUNE = "leave it out, or write trainer.type: finetune"


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        (
            llm(input_features=feature("text", cache_encoder_embeddings=True)),
            "input_features[0].preprocessing.cache_encoder_embeddings",
            UNREAD + "leave it out, there is no encoder",
        ),
        (
            llm(input_features=feature("category", most_common=9)),
            "input_features[0].preprocessing.most_common",
            UNREAD + "leave it out, every value is written as it is",
        ),
        *(
            (llm(input_features=feature(kind, **{key: value})), f"input_features[0].preprocessing.{key}", UNREAD + told)
            for kind, key, value, told in [
                ("number", "normalization", "minmax", AS_IT_IS),
                ("number", "normalization", None, AS_IT_IS),
                ("number", "outlier_strategy", "clip", AS_IT_IS),
                ("number", "fill_value", 3.0, AS_IT_IS),
                ("number", "missing_value_strategy", "fill_with_mode", f"{AS_IT_IS}; drop_row and error work"),
                ("binary", "fallback_true_label", "yes", AS_IT_IS),
                ("binary", "fill_value", True, AS_IT_IS),
                ("binary", "missing_value_strategy", "fill_with_true", f"{AS_IT_IS}; drop_row and error work"),
            ]
        ),
        (
            llm(output_features=feature("number", normalization="minmax"), input_features=[TEXT]),
            "output_features[0].preprocessing.normalization",
            UNREAD + "leave it out, a number is written as it is",
        ),
        (
            ecd(output_features=feature("binary", fallback_label="no")),
            "output_features[0].preprocessing.fallback_label",
            "has no effect on model_type 'ecd'; leave it out, a head always gives a label",
        ),
        (
            ecd(preprocessing={"global_max_sequence_length": 512}),
            "preprocessing.global_max_sequence_length",
            "is for the rows of a language model; write preprocessing.max_sequence_length of a text input",
        ),
        (
            ecd(preprocessing={"overlong": "drop"}),
            "preprocessing.overlong",
            "is for the rows of a language model; leave it out, an encoder reads the beginning of a text",
        ),
        *(
            (
                llm(trainer={"type": "none", key: value}),
                f"trainer.{key}",
                "has no effect, type none trains nothing; leave it out, or write type: finetune",
            )
            for key, value in [("epochs", 7), ("learning_rate", 0.1), ("optimizer", "adam"), ("early_stop", 1)]
        ),
        (
            llm(trainer="pretrain", output_features=[], prompt={"template": "{text}"}),
            "prompt",
            f"{RAW}; {OR_FINETUNE}",
        ),
        (llm(trainer="pretrain"), "output_features", f"{RAW}; {OR_FINETUNE}"),
        (
            llm(trainer="pretrain", output_features=[], input_features=[TEXT, {"name": "b", "type": "text"}]),
            "input_features[1]",
            f"{RAW}; {OR_FINETUNE}",
        ),
        (
            llm(trainer="pretrain", output_features=[], preprocessing={"overlong": "drop"}),
            "preprocessing.overlong",
            f"{RAW}, in pieces; {OR_FINETUNE}",
        ),
        (
            ecd(input_features=[{**TEXT, "encoder": {"type": "bert", "adapter": "qlora"}}]),
            "input_features[0].encoder.adapter",
            "'qlora' quantizes a language model's base, not an encoder; write adapter: lora",
        ),
        (
            ecd(input_features=[{**TEXT, "encoder": {"type": "bert", "adapter": MERGED, "use_pretrained": False}}]),
            "input_features[0].encoder.use_pretrained",
            "must be true to merge an adapter into the weights",
        ),
        (
            llm(adapter={"type": "lora", "postprocessor": {"progressbar": True}}),
            "adapter.postprocessor.progressbar",
            "has no effect: nothing is merged; leave it out",
        ),
        *(
            (
                ecd(output_features=[{"name": name, "type": "category"}]),
                "output_features[0].name",
                f"{name!r} is what the metrics of all outputs are called; write another name, and column: {name}",
            )
            for name in ("combined", "training")
        ),
        (
            ecd(output_features=[{**LABEL, "loss": {"class_weights": [0, 0]}}]),
            "output_features[0].loss.class_weights",
            "must not all be 0: no row would count",
        ),
    ],
)
def test_what_has_no_effect_is_refused_with_what_to_write(config, path, message):
    assert problems(config) == [f"{path}: {message}"]


@pytest.mark.parametrize("weights", [[1, -1], {"a": -1}])
def test_a_class_weight_below_zero_is_refused(weights):
    (problem,) = problems(ecd(output_features=[{**LABEL, "loss": {"class_weights": weights}}]))
    assert problem.startswith("output_features[0].loss.class_weights: must be a list of numbers")
    assert load_config(ecd(output_features=[{**LABEL, "loss": {"class_weights": {"a": 0}}}]))


@pytest.mark.parametrize(
    "config",
    [
        llm(input_features=feature("text", cache_encoder_embeddings=False, max_sequence_length=None, lowercase=True)),
        llm(input_features=feature("number", normalization="zscore", missing_value_strategy="drop_row")),
        llm(input_features=feature("binary", missing_value_strategy="error", fill_value=False)),
        llm(input_features=feature("category", lowercase=True, fill_value="none")),
        llm(trainer={"type": "none", "epochs": 3, "learning_rate": "auto", "eval_batch_size": 2}),
        llm(trainer="pretrain", output_features=[], prompt={}),
        ecd(preprocessing={"global_max_sequence_length": None, "overlong": "cut"}),
        ecd(input_features=[{"name": "combined", "type": "text"}]),
    ],
)
def test_what_asks_for_what_is_done_anyway_is_accepted(config):
    loaded = load_config(config)
    assert load_config(loaded.dump()) == loaded


@pytest.mark.parametrize("encoder", ["tf_idf", "embed", "parallel_cnn"])
def test_case_is_kept_where_the_config_says_so(encoder):
    def lowercase(**preprocessing: Any) -> bool:
        text = {**TEXT, "encoder": encoder, "preprocessing": preprocessing}
        return load_config(ecd(input_features=[text])).input_features[0].encoder.lowercase

    assert (lowercase(), lowercase(lowercase=False), lowercase(lowercase=True)) == (True, False, True)


def test_case_is_kept_by_a_default_too():
    defaults = {"text": {"encoder": "embed", "preprocessing": {"lowercase": False}}}
    assert load_config(ecd(defaults=defaults)).input_features[0].encoder.lowercase is False
    defaults["text"]["encoder"] = {"type": "embed", "lowercase": True}
    assert load_config(ecd(defaults=defaults)).input_features[0].encoder.lowercase is True


def test_an_input_does_not_take_a_default_that_only_outputs_read():
    city = {"name": "city", "type": "category"}
    config = llm(input_features=[city], defaults={"category": {"preprocessing": {"most_common": 9, "labels": ["x"]}}})
    loaded = load_config(config)
    assert loaded.input_features[0].preprocessing.most_common == 10_000
    output = loaded.output_features[0].preprocessing
    assert (output.most_common, output.labels) == (9, ["x"])
    assert load_config(loaded.dump()) == loaded


def test_a_tied_input_reads_as_long_a_text_as_the_one_it_is_tied_to():
    inputs = [{**TEXT, "encoder": "embed"}, {"name": "other", "type": "text", "tied": "text"}]
    defaults = {"text": {"preprocessing": {"max_sequence_length": 9, "fill_value": "x"}}}
    first, second = load_config(ecd(input_features=inputs, defaults=defaults)).input_features
    assert (first.preprocessing.max_sequence_length, second.preprocessing.max_sequence_length) == (9, None)
    assert first.preprocessing.fill_value == second.preprocessing.fill_value == "x"


def test_a_default_that_nothing_reads_is_refused_at_its_line():
    text = """\
base_model: starter
input_features: [{name: text, type: text}]
output_features: [{name: label, type: category}]
defaults:
  text:
    preprocessing:
      cache_encoder_embeddings: true
"""
    with pytest.raises(ConfigError) as error:
        load_config(parse_yaml(text).data)
    with pytest.raises(ConfigError, match=r":7: input_features\[0\]\.preprocessing\.cache_encoder_embeddings: has no"):
        load_config(text)
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("overrides", "shown"), [(3, "3"), ([("a", 1)], "('a', 1)"), ({1: 2}, "1"), (b"a=b", "97"), (False, "False")]
)
def test_overrides_of_another_kind_are_a_config_error(overrides, shown):
    with pytest.raises(ConfigError) as error:
        load_config(llm(), overrides)
    assert str(error.value) == (
        f"overrides: must be values by path, such as {{'adapter.r': 8}}, or texts, such as 'adapter.r=8', got {shown}"
    )


def test_a_text_is_one_override():
    assert load_config(llm(), "seed=7").seed == 7
    assert load_config(llm(), []).seed == load_config(llm(), {}).seed == 42
