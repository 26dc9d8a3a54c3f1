"""Configs in Ludwig's older words are understood, and what cannot be is answered with what to write."""

from fnmatch import fnmatchcase

import pytest

from declarlm.compat import upgrade
from declarlm.compat.ludwig import ABSENT, EFFECTLESS, IGNORED, RENAMED, VALUES
from declarlm.config import EcdConfig, LlmConfig
from declarlm.core import ConfigError, Section
from declarlm.core.document import Document
from declarlm.core.fields import Choice, Entries, Items, Sub
from declarlm.core.strict_yaml import parse_yaml


def upgraded(text: str) -> dict:
    document = upgrade(parse_yaml(text))
    assert not document.problems
    return document.data


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("training: {epochs: 3}", {"trainer": {"epochs": 3}}),
        ("trainer: {eval_batch_size: 0}", {"trainer": {"eval_batch_size": None}}),
        (
            "trainer: {learning_rate_scheduler: {decay: cosine, warmup_fraction: .1}}",
            {"trainer": {"learning_rate_scheduler": {"type": "cosine", "warmup_fraction": 0.1}}},
        ),
        (
            "trainer: {learning_rate_scheduler: {decay: null}}",
            {"trainer": {"learning_rate_scheduler": {"type": "constant"}}},
        ),
        (
            "training: {decay: true, decay_rate: .9, decay_steps: 10, staircase: true}",
            {
                "trainer": {
                    "learning_rate_scheduler": {
                        "type": "exponential",
                        "decay_rate": 0.9,
                        "decay_steps": 10,
                        "staircase": True,
                    }
                }
            },
        ),
        (
            "trainer: {epochs: 4, learning_rate_warmup_epochs: 1}",
            {"trainer": {"epochs": 4, "learning_rate_scheduler": {"warmup_fraction": 0.25}}},
        ),
        ("trainer: {use_mixed_precision: true}", {"trainer": {"precision": "bf16"}}),
        ("input_features: [{name: a, type: numerical}]", {"input_features": [{"name": "a", "type": "number"}]}),
        (
            "input_features: [{name: a, type: text, encoder: bert, trainable: true, reduce_output: mean}]",
            {
                "input_features": [
                    {
                        "name": "a",
                        "type": "text",
                        "encoder": {"type": "bert", "trainable": True, "reduce_output": "mean"},
                    }
                ]
            },
        ),
        (
            "input_features: [{name: a, type: category, embedding_size: 8}]",
            {"input_features": [{"name": "a", "type": "category", "encoder": {"embedding_size": 8}}]},
        ),
        (
            "output_features: [{name: a, type: category, num_fc_layers: 2}]",
            {"output_features": [{"name": "a", "type": "category", "decoder": {"num_fc_layers": 2}}]},
        ),
        (
            "output_features: [{name: a, decoder: {type: category_extractor, fallback_label: no}}]",
            {
                "output_features": [
                    {"name": "a", "decoder": {"type": "category_extractor"}, "preprocessing": {"fallback_label": "no"}}
                ]
            },
        ),
        (
            "input_features: [{name: a, preprocessing: {missing_value_strategy: backfill, word_most_common: 9}}]",
            {"input_features": [{"name": "a", "preprocessing": {"missing_value_strategy": "bfill", "most_common": 9}}]},
        ),
        (
            "preprocessing: {text: {lowercase: true}, numerical: {normalization: zscore}}",
            {
                "defaults": {
                    "text": {"preprocessing": {"lowercase": True}},
                    "number": {"preprocessing": {"normalization": "zscore"}},
                },
                "preprocessing": {},
            },
        ),
        (
            "preprocessing: {force_split: true, split_probabilities: [.8, .1, .1], stratify: label}",
            {"preprocessing": {"split": {"type": "stratified", "column": "label", "probabilities": [0.8, 0.1, 0.1]}}},
        ),
        (
            "preprocessing: {split: {type: stratify, column: label}}",
            {"preprocessing": {"split": {"type": "stratified", "column": "label"}}},
        ),
        (
            "adapters: {adapters: {a: {type: lora, pretrained_adapter_weights: x, r: 8}}, active: a}",
            {"adapters": {"a": {"type": "lora", "pretrained_adapter_weights": "x"}}, "active_adapter": "a"},
        ),
        (
            "adapters: {adapters: {a: {pretrained_adapter_weights: x}, b: {pretrained_adapter_weights: y}}, "
            "merge: {name: c, sources: [a, b], weights: [.5, .5]}}",
            {
                "adapters": {
                    "a": {"pretrained_adapter_weights": "x"},
                    "b": {"pretrained_adapter_weights": "y"},
                    "c": {"sources": ["a", "b"], "weights": [0.5, 0.5], "combination_type": "linear"},
                }
            },
        ),
        (
            "input_features: [{name: a, type: set, encoder: embed}, {name: b, type: date, encoder: {type: embed}}]",
            {
                "input_features": [
                    {"name": "a", "type": "set", "encoder": "label_embedding"},
                    {"name": "b", "type": "date", "encoder": {"type": "dense"}},
                ]
            },
        ),
        (
            "trainer: {type: dpo, dpo_beta: .2, dpo_loss_type: ipo, dpo_label_smoothing: 0, rejected_column: worse}",
            {
                "trainer": {
                    "type": "dpo",
                    "beta": 0.2,
                    "loss_type": "ipo",
                    "label_smoothing": 0,
                    "rejected_column": "worse",
                }
            },
        ),
        (
            "trainer: {type: grpo, grpo_beta: .1, grpo_epsilon: .3, grpo_num_generations: 8}",
            {"trainer": {"type": "grpo", "beta": 0.1, "epsilon": 0.3, "num_generations": 8}},
        ),
        ("adapters: null", {}),
        ("generation: {num_beams: 4, temperature: .1, top_k: 40}", {"generation": {"num_beams": 4}}),
        (
            "input_features: [{name: a, encoder: {type: bert, trainable: true, adapter: lora}}]",
            {"input_features": [{"name": "a", "encoder": {"type": "bert", "adapter": "lora"}}]},
        ),
        (
            "output_features: [{name: a, decoder: {type: classifier, fc_output_size: 9, fc_dropout: .5}}]",
            {"output_features": [{"name": "a", "decoder": {"type": "classifier", "output_size": 9, "dropout": 0.5}}]},
        ),
        (
            "defaults: {number: {decoder: {fc_activation: relu}}}",
            {"defaults": {"number": {"decoder": {"activation": "relu"}}}},
        ),
        (
            "prompt: {task: x, retrieval: {type: null, index_name: null, model_name: null, k: 0}}",
            {"prompt": {"task": "x"}},
        ),
        (
            "prompt: {task: x, retrieval: {type: random, index_name: null, model_name: null, k: 0}}",
            {"prompt": {"task": "x", "retrieval": {"type": "random", "model_name": None, "k": 1}}},
        ),
        (
            "input_features: [{name: a, preprocessing: {prompt: {template: null, task: null, retrieval: null}}}]",
            {"input_features": [{"name": "a", "preprocessing": {}}]},
        ),
        (
            "input_features: [{name: a, preprocessing: {prompt: {template: null, retrieval: {type: null, k: 0}}}}]",
            {"input_features": [{"name": "a", "preprocessing": {}}]},
        ),
        ("preprocessing: {force_split: true, split: {type: random}}", {"preprocessing": {"split": {"type": "random"}}}),
        ("preprocessing: {force_split: false, split: fixed}", {"preprocessing": {"split": "fixed"}}),
        (
            "input_features: [{name: a, type: text, encoder: bert, preprocessing: {tokenizer: hf_tokenizer}}]",
            {"input_features": [{"name": "a", "type": "text", "encoder": "bert", "preprocessing": {}}]},
        ),
        (
            "defaults: {text: {encoder: embed, preprocessing: {tokenizer: space_punct, padding: right}}}",
            {"defaults": {"text": {"encoder": "embed", "preprocessing": {}}}},
        ),
        (
            "{base_model: b, input_features: [{name: a, preprocessing: {tokenizer: hf_tokenizer, padding: left}}]}",
            {"base_model": "b", "input_features": [{"name": "a", "preprocessing": {}}]},
        ),
        (
            "{defaults: {text: {preprocessing: {tokenizer: hf_tokenizer}}}, "
            "input_features: [{type: text, encoder: bert}]}",
            {"defaults": {"text": {"preprocessing": {}}}, "input_features": [{"type": "text", "encoder": "bert"}]},
        ),
        (
            "{base_model: b, input_features: [{type: text, encoder: {type: passthrough, skip: false}, preprocessing: "
            "{pretrained_model_name_or_path: b, word_most_common: 20000}}]}",
            {"base_model": "b", "input_features": [{"type": "text", "preprocessing": {}}]},
        ),
        (
            "input_features: [{type: text, encoder: embed, preprocessing: {word_most_common: 9}}]",
            {"input_features": [{"type": "text", "encoder": {"type": "embed", "most_common": 9}, "preprocessing": {}}]},
        ),
        (
            "preprocessing: {text: {most_common: 9}}",
            {"preprocessing": {}, "defaults": {"text": {"preprocessing": {}, "encoder": {"most_common": 9}}}},
        ),
        (
            "input_features: [{type: category, preprocessing: {most_common: 9, cache_encoder_embeddings: false}}]",
            {"input_features": [{"type": "category", "preprocessing": {"most_common": 9}}]},
        ),
        (
            "input_features: [{type: text, preprocessing: {cache_encoder_embeddings: false}}]",
            {"input_features": [{"type": "text", "preprocessing": {"cache_encoder_embeddings": False}}]},
        ),
        (
            "trainer: {learning_rate_scheduler: {decay: linear, decay_rate: .96,decay_steps: 10000, staircase: false}}",
            {"trainer": {"learning_rate_scheduler": {"type": "linear"}}},
        ),
        (
            "output_features: [{type: binary, default_validation_metric: roc_auc}]",
            {"output_features": [{"type": "binary"}]},
        ),
        ("generation: {min_new_tokens: null}", {"generation": {"min_new_tokens": 0}}),
        ("{trainer: {learning_rate_scaling: sqrt}}", {"trainer": {}}),
        ("backend: {type: local, cache_dir: null}", {"backend": {"type": "local"}}),
        (
            "backend: {type: ray, trainer: {num_workers: 4, strategy: {type: ddp}, use_gpu: false}}",
            {"backend": {"type": "ray", "num_workers": 4, "strategy": "ddp", "gpu_resources_per_worker": 0}},
        ),
        (
            "backend: {type: ray, trainer: {use_gpu: true, resources_per_worker: {CPU: 2, GPU: 1}}, processor: {}}",
            {"backend": {"type": "ray", "cpu_resources_per_worker": 2, "gpu_resources_per_worker": 1}},
        ),
        ("base_model: llama-2-7b-chat", {"base_model": "meta-llama/Llama-2-7b-chat-hf"}),
        ("adapter: {type: adalora, target_r: 4, total_step: 10000}", {"adapter": {"type": "adalora", "r": 4}}),
        ("{$schema: x, ludwig_version: 0.11, hyperopt: {}, adapters: null, is_multimodal: false}", {}),
        (
            "output_features: [{name: a, active: true, dependencies: [], reduce_input: sum, top_k: 3}]",
            {"output_features": [{"name": "a"}]},
        ),
    ],
)
def test_old_words_are_read_as_todays(old, new):
    assert upgraded(old) == new


TODAY = """\
model_type: llm
base_model: starter
input_features: [{name: text, type: text, encoder: {type: bert, trainable: true}}]
output_features: [{name: intent, type: category, decoder: {type: category_extractor}}]
prompt: {template: "{text}"}
adapter: lora
quantization: {bits: 4}
preprocessing: {split: {type: random, probabilities: [0.8, 0.1, 0.1]}, global_max_sequence_length: 512}
trainer: {type: finetune, learning_rate_scheduler: {type: cosine, warmup_fraction: 0.03}}
generation: {temperature: 0.1}
backend: local
seed: 42
"""


def test_todays_config_stays_as_it_is_without_a_note():
    document = parse_yaml(TODAY)
    assert upgrade(document) == document


def test_upgrading_twice_changes_nothing_more():
    once = upgrade(
        parse_yaml("training: {decay: true}\npreprocessing: {stratify: a}\ninput_features: [{type: numerical}]")
    )
    assert upgrade(once).data == once.data


def test_every_reading_is_noted():
    text = "training: {eval_batch_size: 0, epochs: 2, learning_rate_warmup_epochs: 1}\n"
    text += "generation: {num_beams: 2, top_k: 9}"
    assert upgrade(parse_yaml(text)).notes == (
        "training: read as trainer",
        "training.eval_batch_size: 0 is read as None",
        "training.learning_rate_warmup_epochs: read as trainer.learning_rate_scheduler.warmup_fraction",
        "generation.top_k: left out, beams find the most probable answer",
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            "hyperopt: {search_alg: {type: bohb}}",
            "hyperopt.search_alg.type: Declarlm does not have 'bohb': write random, grid, tpe or cmaes",
        ),
        (
            "hyperopt: {executor: {scheduler: {type: asha, brackets: 3}}}",
            "hyperopt.executor.scheduler.brackets: a Ludwig key that Declarlm does not have: write scheduler.type: "
            "hyperband",
        ),
        (
            "trainer: {bucketing_field: text}",
            "trainer.bucketing_field: a Ludwig key that Declarlm does not have: leave it out, rows of like length are "
            "batched anyway",
        ),
        (
            "output_features: [{name: a}, {name: b, dependencies: [a]}]",
            "output_features[1].dependencies: a Ludwig key that Declarlm does not have: leave it out, outputs are "
            "predicted independently",
        ),
        (
            "trainer: {optimizer: {type: adam, lr: 0.1}}",
            "trainer.optimizer.lr: a Ludwig key that Declarlm does not have: write trainer.learning_rate",
        ),
        (
            "trainer: {learning_rate_warmup_epochs: 2, epochs: 1}",
            "trainer.learning_rate_warmup_epochs: a Ludwig key that Declarlm does not have: write "
            "learning_rate_scheduler.warmup_fraction",
        ),
        (
            "training: {epochs: 1}\ntrainer: {epochs: 2}",
            "training: is an old spelling of trainer, which is given too; remove one of them",
        ),
    ],
)
def test_what_cannot_be_read_is_answered_with_what_to_write(config, message):
    document = upgrade(parse_yaml(config))
    assert [str(problem) for problem in document.problems] == [message]


def test_problems_have_the_line_of_what_was_written():
    document = upgrade(parse_yaml("# old\ntraining:\n  epochs: 2\n  model_soup: greedy\n", "a.yaml"))
    assert str(ConfigError(document, document.problems)) == (
        "a.yaml:4: training.model_soup: a Ludwig key that Declarlm does not have: leave it out, the best weights "
        "are kept"
    )


@pytest.mark.parametrize(
    "data", [None, [], 3, {"trainer": 3, "input_features": "x", "preprocessing": [1], "backend": None}]
)
def test_what_has_the_wrong_type_is_left_for_the_validation(data):
    assert upgrade(Document(data)).data == data


@pytest.mark.parametrize("data", [{"training": 3}, {"input_features": [3, None, {"encoder": 3, "trainable": True}]}])
def test_wrong_types_do_not_stop_an_upgrade(data):
    assert isinstance(upgrade(Document(data)).data, dict)


def test_tables_do_not_contradict_each_other():
    assert not {*RENAMED} & {*IGNORED, *ABSENT, *EFFECTLESS}
    assert not {*ABSENT} & {*VALUES, *IGNORED, *EFFECTLESS}


def sections_at(section: type[Section], pattern: list[str]) -> list[type[Section]]:
    """The sections that a place leads to, whichever plugin is chosen on the way."""
    if not pattern:
        return [section]
    found = []
    for name, field in section.schema().fields.items():
        if fnmatchcase(name, pattern[0]):
            rest = pattern[1:]
            if isinstance(field, Items | Entries):
                field, rest = field.item, rest[1:]
            if isinstance(field, Choice):
                choices = [field.registry[plugin].Config for plugin in field.registry]
            else:
                choices = [field.section] if isinstance(field, Sub) else []
            found += [inner for choice in choices for inner in sections_at(choice, rest)]
    return found


@pytest.mark.parametrize("place", [*RENAMED, *IGNORED, *ABSENT, *EFFECTLESS])
def test_no_table_names_a_key_that_declarlm_has(place):
    *parents, key = place.split(".")
    for root in (LlmConfig, EcdConfig):
        for section in sections_at(root, parents):
            known = [name for name in section.schema().fields if fnmatchcase(name, key)]
            assert not known, f"{section.__qualname__} has {known}"
