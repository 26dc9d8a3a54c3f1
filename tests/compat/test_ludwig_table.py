"""Every key of Ludwig's is known, at the value that it has when nobody writes it, and so is every name."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from declarlm import ConfigError, load_config
from declarlm.compat.ludwig_names import NAMES

LLM: dict[str, Any] = {
    "model_type": "llm",
    "base_model": "starter",
    "input_features": [{"name": "a", "type": "text"}],
    "output_features": [{"name": "b", "type": "text"}],
    "adapter": {"type": "lora"},
    "trainer": {"type": "finetune"},
}
ECD: dict[str, Any] = {
    "model_type": "ecd",
    "input_features": [{"name": "a", "type": "text", "encoder": {"type": "bert"}}],
    "output_features": [{"name": "b", "type": "category", "loss": {"type": "softmax_cross_entropy"}}],
    "combiner": {"type": "concat"},
}
EXTRACTED = {**LLM, "output_features": [{"name": "b", "type": "category", "decoder": {"type": "category_extractor"}}]}
TEXT = {
    "tokenizer": "space_punct",
    "max_sequence_length": 256,
    "sequence_length": None,
    "most_common": 20000,
    "padding": "right",
    "lowercase": False,
    "padding_symbol": "<PAD>",
    "unknown_symbol": "<UNK>",
    "ngram_size": 2,
    "compute_idf": False,
    "cache_encoder_embeddings": False,
    "missing_value_strategy": "fill_with_const",
    "fill_value": "<UNK>",
    "prompt": None,
}
TRAINER = {
    "learning_rate": 0.001,
    "epochs": 100,
    "train_steps": None,
    "early_stop": 5,
    "batch_size": 1,
    "max_batch_size": 2**40,
    "eval_batch_size": 2,
    "gradient_accumulation_steps": "auto",
    "effective_batch_size": "auto",
    "optimizer": {"type": "adam"},
    "gradient_clipping": {"clipglobalnorm": 0.5},
    "use_mixed_precision": False,
    "enable_gradient_checkpointing": False,
    "base_learning_rate": 0.0,
    "eval_steps": None,
    "steps_per_checkpoint": 0,
    "checkpoints_per_epoch": 0,
    "evaluate_training_set": False,
    "validation_field": None,
    "validation_metric": None,
    "regularization_type": "l2",
    "regularization_lambda": 0,
    "should_shuffle": True,
    "increase_batch_size_on_plateau": 0,
    "learning_rate_scaling": "linear",
    "bucketing_field": None,
    "compile": False,
    "layers_to_freeze_regex": None,
    "skip_all_evaluation": False,
    "enable_profiling": False,
    "loss_balancing": "none",
    "modality_dropout": 0,
    "model_soup": None,
}
SCHEDULE = {
    "decay": None,
    "decay_rate": 0.96,
    "decay_steps": 10000,
    "staircase": False,
    "warmup_evaluations": 0,
    "warmup_fraction": 0.0,
    "reduce_on_plateau": 0,
    "reduce_on_plateau_patience": 10,
    "reduce_on_plateau_rate": 0.1,
    "reduce_eval_metric": "loss",
    "reduce_eval_split": "training",
    "t_0": None,
    "t_mult": 1,
    "eta_min": 0,
    "max_lr": None,
    "pct_start": 0.3,
    "div_factor": 25,
    "final_div_factor": 1e4,
}
GENERATION = {
    "max_new_tokens": 32,
    "max_length": 32,
    "min_length": 0,
    "do_sample": True,
    "temperature": 0.1,
    "top_k": 50,
    "top_p": 1.0,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "use_cache": True,
    "early_stopping": False,
    "num_beam_groups": 1,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "diversity_penalty": 0.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "renormalize_logits": False,
    "remove_invalid_values": False,
    **dict.fromkeys(
        [
            "max_time",
            "penalty_alpha",
            "prompt_lookup_num_tokens",
            "bad_words_ids",
            "force_words_ids",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "exponential_decay_length_penalty",
            "suppress_tokens",
            "begin_suppress_tokens",
            "forced_decoder_ids",
            "sequence_bias",
            "guidance_scale",
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
        ]
    ),
}
LORA = {
    "r": 8,
    "alpha": 16,
    "dropout": 0.05,
    "bias_type": "none",
    "target_modules": None,
    "use_rslora": False,
    "use_dora": False,
    "loraplus_lr_ratio": None,
    "init_lora_weights": "default",
    "eva_config": None,
    "loftq_config": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layer_replication": None,
    "pretrained_adapter_weights": None,
    "postprocessor": {"merge_adapter_into_base_model": False, "progressbar": False},
}
QUANTIZATION = {
    "backend": "bitsandbytes",
    "bits": 4,
    "llm_int8_threshold": 6.0,
    "llm_int8_has_fp16_weight": False,
    "bnb_4bit_compute_dtype": "float16",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_quant_type": "nf4",
}
OF_TYPES: dict[str, dict[str, Any]] = {
    "category": {"fill_value": "<UNK>", "lowercase": False, "most_common": 10000, "cache_encoder_embeddings": False},
    "number": {
        "fill_value": 0.0,
        "normalization": "zscore",
        "outlier_strategy": None,
        "outlier_threshold": 3.0,
        "outlier_replacement_strategy": None,
        "computed_fill_value": 0.0,
    },
    "binary": {"missing_value_strategy": "fill_with_false", "fallback_true_label": None, "fill_value": None},
    "set": {"missing_value_strategy": "fill_with_const", "fill_value": "<UNK>", "most_common": 10000},
    "date": {"missing_value_strategy": "fill_with_const", "fill_value": "", "datetime_format": None},
    "vector": {"missing_value_strategy": "fill_with_const", "fill_value": "", "vector_size": None},
}
OUTPUT = {
    "column": "b",
    "reduce_input": "sum",
    "dependencies": [],
    "reduce_dependencies": "sum",
    "input_size": None,
    "num_classes": None,
    "calibration": False,
    "top_k": 3,
}
LOSS = {"class_weights": None, "class_similarities": None, "confidence_penalty": 0, "robust_lambda": 0, "weight": 1.0}
ROOT = {
    "adapters": None,
    "backend": "local",
    "trust_remote_code": False,
    "is_multimodal": False,
    "preset": None,
    "ludwig_version": "0.17.8",
    "defaults": {},
    "hyperopt": {},
    "model_parameters": {"rope_scaling": None, "neftune_noise_alpha": 0},
}
ADALORA = {
    "tinit": 0,
    "tfinal": 0,
    "delta_t": 1,
    "beta1": 0.85,
    "beta2": 0.85,
    "orth_reg_weight": 0.5,
    "total_step": 10000,
}
IA3 = {"target_modules": None, "feedforward_modules": None, "fan_in_fan_out": False, "modules_to_save": None}
EXTRACTOR = {"fallback_label": None, "constrain_to_vocabulary": False, "match_strategy": "contains", "str2idx": None}
CONCAT = {"num_fc_layers": 0, "output_size": 256, "dropout": 0, "activation": "relu", "norm": None, "residual": False}


def with_input(kind: str) -> dict[str, Any]:
    return {**ECD, "input_features": [*ECD["input_features"], {"name": "c", "type": kind}]}


TABLE: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (LLM, "", ROOT),
    (LLM, "prompt", {"template": None, "task": None, "retrieval": {"type": None, "index_name": None, "k": 0}}),
    (LLM, "input_features.0", {"column": "a", "proc_column": "a_x", "active": True, "tied": None}),
    (LLM, "input_features.0.preprocessing", {**TEXT, "max_sequence_length": None, "padding": "left"}),
    (ECD, "input_features.0.preprocessing", TEXT),
    *((with_input(kind), "input_features.1.preprocessing", keys) for kind, keys in OF_TYPES.items()),
    (ECD, "output_features.0", OUTPUT),
    (ECD, "output_features.0.loss", LOSS),
    (ECD, "combiner", {**CONCAT, "flatten_inputs": False}),
    (EXTRACTED, "output_features.0.decoder", {**EXTRACTOR, "match": {"x": {"type": "contains", "value": "x"}}}),
    (LLM, "adapter", LORA),
    ({**LLM, "adapter": {"type": "adalora"}}, "adapter", {**ADALORA, "rank_pattern": None}),
    ({**LLM, "adapter": {"type": "ia3"}}, "adapter", {**IA3, "init_ia3_weights": True}),
    ({**LLM, "quantization": {"bits": 4}}, "quantization", QUANTIZATION),
    (LLM, "generation", GENERATION),
    (LLM, "trainer", TRAINER),
    (ECD, "trainer", TRAINER),
    (LLM, "trainer.learning_rate_scheduler", SCHEDULE),
    *((LLM, "trainer", {"learning_rate_scheduler": {"decay": name}}) for name in ("linear", "exponential", "cosine")),
    *((LLM, "adapter", {"type": name}) for name in ("ia3", "vera", "oft", "ln_tuning", "adalora")),
    *((LLM, "trainer", {"optimizer": {"type": name}}) for name in ("adam", "adamw", "sgd", "paged_adamw_8bit", "lion")),
]
CASES = [
    pytest.param(base, place, key, value, id=f"{base['model_type']}-{place}.{key}-{number}")
    for number, (base, place, keys) in enumerate(TABLE)
    for key, value in keys.items()
]


def put(base: dict[str, Any], place: str, key: str, value: Any) -> dict[str, Any]:
    data = deepcopy(base)
    found: Any = data
    for step in filter(None, place.split(".")):
        found = found[int(step)] if step.isdigit() else found.setdefault(step, {})
    found[key] = value
    return data


@pytest.mark.parametrize(("base", "place", "key", "value"), CASES)
def test_a_key_of_ludwigs_is_accepted_at_its_usual_value(base, place, key, value):
    assert load_config(put(base, place, key, value)).model_type == base["model_type"]


NAMED = [(place, name) for place, groups in NAMES.items() for names, _ in groups for name in names]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(("place", "name"), NAMED)
def test_a_name_that_only_ludwig_knows_is_answered_by_another(place, name, as_text):
    base = LLM if place in ("adapter", "trainer.optimizer", "trainer.learning_rate_scheduler") else ECD
    *parents, last = place.replace("defaults.*", "defaults.text").replace("*", "0").split(".")
    data = put(base, ".".join(parents), last, name if as_text else {"type": name})
    with pytest.raises(ConfigError) as error:
        load_config(data)
    (problem,) = error.value.problems
    assert problem.message.startswith(f"Declarlm does not have {name!r}: write ")
    assert problem.path == place.replace("defaults.*", "defaults.text").replace(".*", "[0]") + (
        "" if as_text else ".type"
    )


@pytest.mark.parametrize(
    ("base", "place", "key", "value"),
    [
        (LLM, "", "trainr", {}),
        (LLM, "trainer", "learning_ratee", 1.0),
        (LLM, "adapter", "rank", 8),
        (LLM, "", "preprocesssing", {}),
        ({**LLM, "quantization": {}}, "quantization", "bit", 4),
        (LLM, "generation", "max_tokens", 9),
    ],
)
def test_what_ludwig_lets_pass_unseen_is_named_with_its_neighbour(base, place, key, value):
    with pytest.raises(ConfigError, match=rf"{key}: no parameter is named '{key}' \(did you mean '\w+'\?\)"):
        load_config(put(base, place, key, value))
