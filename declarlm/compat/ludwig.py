"""What Ludwig's configs say in other words, as tables; ``upgrade`` applies them.

A place is a dotted path in which ``*`` stands for any item or key.
"""

from __future__ import annotations

from typing import Any

_ENCODER_KEYS = (
    "pretrained_model_name_or_path trainable reduce_output embedding_size embeddings_trainable pretrained_embeddings "
    "representation num_layers output_size num_filters filter_size cell_type state_size bidirectional hidden_size "
    "num_heads num_fc_layers fc_layers fc_dropout activation norm dropout use_pretrained"
)
_DECODER_KEYS = "num_fc_layers fc_layers fc_dropout output_size activation norm dropout"
_TYPES = "text category number numerical binary set bag sequence date vector timeseries image audio h3"
_GENERATION_KEYS = (
    "penalty_alpha prompt_lookup_num_tokens bad_words_ids force_words_ids guidance_scale sequence_bias early_stopping "
    "max_time num_beam_groups typical_p epsilon_cutoff eta_cutoff diversity_penalty encoder_repetition_penalty "
    "encoder_no_repeat_ngram_size renormalize_logits forced_bos_token_id forced_eos_token_id suppress_tokens "
    "begin_suppress_tokens exponential_decay_length_penalty remove_invalid_values constraints pad_token_id "
    "bos_token_id eos_token_id"
)
_PLACES = ("*_features", "defaults")
_PREPROCESSING = {
    "word_tokenizer": "tokenizer",
    "word_most_common": "most_common",
    "word_sequence_length_limit": "max_sequence_length",
    "sequence_length_limit": "max_sequence_length",
}
_PLATEAU = "reduce_learning_rate_on_plateau"

_METRICS: list[tuple[Any, Any]] = [
    ("mean_squared_error", "mse"),
    ("root_mean_squared_error", "rmse"),
    ("mean_absolute_error", "mae"),
    ("mean_absolute_percentage_error", "mape"),
]

# Where a value moves to: a path from the mapping that holds it, from its parent (..), or from the top (/).
RENAMED: dict[str, str] = {
    "training": "trainer",
    "trainer.learning_rate_scheduler.decay": "type",
    "trainer.learning_rate_scheduler.pct_start": "warmup_fraction",
    "trainer.decay": "learning_rate_scheduler.type",
    "trainer.decay_rate": "learning_rate_scheduler.decay_rate",
    "trainer.decay_steps": "learning_rate_scheduler.decay_steps",
    "trainer.staircase": "learning_rate_scheduler.staircase",
    "trainer.use_mixed_precision": "precision",
    **{f"preprocessing.{kind}": f"/defaults.{kind}.preprocessing" for kind in _TYPES.split()},
    "defaults.numerical": "number",
    "preprocessing.split_probabilities": "split.probabilities",
    **{f"{place}.*.preprocessing.{old}": new for place in _PLACES for old, new in _PREPROCESSING.items()},
    **{f"input_features.*.{key}": f"encoder.{key}" for key in _ENCODER_KEYS.split()},
    **{f"output_features.*.{key}": f"decoder.{key}" for key in _DECODER_KEYS.split()},
    "output_features.*.preprocessing.vocab": "labels",
    "output_features.*.decoder.fallback_label": "../preprocessing.fallback_label",
    "adapter.target_r": "r",
}

# What a value is called here.
VALUES: dict[str, list[tuple[Any, Any]]] = {
    "*_features.*.type": [("numerical", "number")],
    "trainer.eval_batch_size": [(0, None)],
    "trainer.precision": [(True, "bf16"), (False, "fp32")],
    "trainer.learning_rate_scheduler.type": [(None, "constant"), (True, "exponential"), (False, "constant")],
    "trainer.validation_field": [("combined", None)],
    "trainer.validation_metric": _METRICS,
    "output_features.*.metrics.*": _METRICS,
    "input_features.*.encoder.reduce_output": [("avg", "mean")],
    "preprocessing.split": [("stratify", "stratified")],
    "preprocessing.split.type": [("stratify", "stratified")],
    **{
        f"{place}.*.preprocessing.missing_value_strategy": [("backfill", "bfill"), ("pad", "ffill")]
        for place in _PLACES
    },
    "base_model": [
        ("bloomz-3b", "bigscience/bloomz-3b"),
        ("bloomz-7b1", "bigscience/bloomz-7b1"),
        ("codellama-7b", "codellama/CodeLlama-7b-hf"),
        ("codellama-13b", "codellama/CodeLlama-13b-hf"),
        ("codellama-34b", "codellama/CodeLlama-34b-hf"),
        ("codellama-7b-instruct", "codellama/CodeLlama-7b-Instruct-hf"),
        ("codellama-13b-instruct", "codellama/CodeLlama-13b-Instruct-hf"),
        ("codellama-34b-instruct", "codellama/CodeLlama-34b-Instruct-hf"),
        ("gpt-neo-2.7B", "EleutherAI/gpt-neo-2.7B"),
        ("gpt-j-6b", "EleutherAI/gpt-j-6b"),
        ("llama-2-7b", "meta-llama/Llama-2-7b-hf"),
        ("llama-2-13b", "meta-llama/Llama-2-13b-hf"),
        ("llama-2-70b", "meta-llama/Llama-2-70b-hf"),
        ("llama-2-7b-chat", "meta-llama/Llama-2-7b-chat-hf"),
        ("llama-2-13b-chat", "meta-llama/Llama-2-13b-chat-hf"),
        ("llama-2-70b-chat", "meta-llama/Llama-2-70b-chat-hf"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.1"),
        ("mistral-7b-instruct", "mistralai/Mistral-7B-Instruct-v0.1"),
        ("mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1"),
        ("mixtral-8x7b-instruct", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
        ("opt-350m", "facebook/opt-350m"),
        ("opt-1.3b", "facebook/opt-1.3b"),
        ("opt-6.7b", "facebook/opt-6.7b"),
        ("phi-1", "microsoft/phi-1"),
        ("phi-1_5", "microsoft/phi-1_5"),
        ("phi-2", "microsoft/phi-2"),
        ("pythia-2.8b", "EleutherAI/pythia-2.8b"),
        ("pythia-12b", "EleutherAI/pythia-12b"),
        ("vicuna-7b", "lmsys/vicuna-7b-v1.3"),
        ("vicuna-13b", "lmsys/vicuna-13b-v1.3"),
        ("zephyr-7b-alpha", "HuggingFaceH4/zephyr-7b-alpha"),
        ("zephyr-7b-beta", "HuggingFaceH4/zephyr-7b-beta"),
    ],
}

# What means nothing here and changes nothing.
IGNORED: tuple[str, ...] = (
    "$schema",
    "ludwig_version",
    "*_features.*.proc_column",
    "preprocessing.force_split",
    "adapter.total_step",
)

# What Declarlm does not have: what to write instead, and the values that ask for nothing.
_LEAVE = "leave it out"
_ONE_PROCESS = f"{_LEAVE}, rows are read and trained on in one process"
_LAYERS = "write num_fc_layers and output_size"
_OPTIMIZER = "write trainer.optimizer.weight_decay"
ABSENT: dict[str, tuple[str, tuple[Any, ...]]] = {
    "model_parameters": (f"{_LEAVE}, the model's own config.json decides", (None, {})),
    "preset": ("write encoder, combiner and trainer", (None,)),
    "is_multimodal": (f"{_LEAVE}, images are not read", (False,)),
    "trust_remote_code": (f"{_LEAVE}, a config never allows a model to run its own code", (False,)),
    "hyperopt": ("train once for each value, with --set", (None, {})),
    "adapters": ("write one of them under adapter", (None,)),
    "backend.cache_dir": ("set the environment variable DECLARLM_CACHE", (None,)),
    "backend.processor": (_ONE_PROCESS, (None, {})),
    "backend.trainer": (_ONE_PROCESS, (None, {})),
    "backend.loader": (_ONE_PROCESS, (None, {})),
    "quantization.backend": (f"{_LEAVE}, bitsandbytes is used", ("bitsandbytes",)),
    "prompt.retrieval": (f"{_LEAVE}, or write examples into prompt.template", (None, {}, {"type": None})),
    "*_features.*.active": (f"{_LEAVE} the whole feature", (True,)),
    "*_features.*.preprocessing.padding": (f"{_LEAVE}, the side follows from the model", ("left", "right")),
    "*_features.*.preprocessing.padding_symbol": (_LEAVE, ("<PAD>",)),
    "*_features.*.preprocessing.unknown_symbol": (_LEAVE, ("<UNK>",)),
    "*_features.*.preprocessing.sequence_length": ("write max_sequence_length", (None,)),
    "*_features.*.preprocessing.tokenizer": (
        f"{_LEAVE}, the encoder or the base model cuts text into words",
        ("hf_tokenizer", "space", "space_punct"),
    ),
    "*_features.*.preprocessing.pretrained_model_name_or_path": (
        "write encoder.pretrained_model_name_or_path",
        (None,),
    ),
    "*_features.*.preprocessing.ngram_size": ("write encoder: {type: tf_idf, ngram_size: ...}", (2,)),
    "*_features.*.preprocessing.compute_idf": ("write encoder: tf_idf", (False,)),
    "input_features.*.encoder.pretrained_kwargs": (_LEAVE, (None, {})),
    "input_features.*.encoder.fc_layers": (_LAYERS, (None,)),
    "output_features.*.decoder.fc_layers": (_LAYERS, (None,)),
    "combiner.fc_layers": (_LAYERS, (None,)),
    "combiner.flatten_inputs": (_LEAVE, (False,)),
    "combiner.residual": (_LEAVE, (False,)),
    "input_features.*.preprocessing.prompt": ("use model_type: llm and prompt", (None, {})),
    "output_features.*.reduce_input": (_LEAVE, (None, "sum")),
    "output_features.*.dependencies": (f"{_LEAVE}, outputs are predicted independently", ([],)),
    "output_features.*.reduce_dependencies": (_LEAVE, (None, "sum")),
    "output_features.*.input_size": (f"{_LEAVE}, it follows from the combiner", (None,)),
    "output_features.*.num_classes": (f"{_LEAVE}, it is found in the data", (None,)),
    "output_features.*.calibration": (_LEAVE, (False,)),
    "output_features.*.default_validation_metric": ("write trainer.validation_metric", (None,)),
    "output_features.*.top_k": ("write hits_at_k under metrics", (3,)),
    "output_features.*.loss.class_similarities*": (_LEAVE, (None, 0)),
    "output_features.*.loss.robust_lambda": ("write label_smoothing", (0,)),
    "output_features.*.decoder.constrain_to_vocabulary": (f"{_LEAVE}, an answer is always a label", (True, False)),
    "output_features.*.decoder.match_strategy": ("write match with a type for each label", ("contains",)),
    "output_features.*.decoder.str2idx": (f"{_LEAVE}, labels are found in the data", (None,)),
    "adapter.layer_replication": (_LEAVE, (None,)),
    "adapter.eva_config": (f"{_LEAVE}, write init_lora_weights: default", (None,)),
    "adapter.loftq_config": (f"{_LEAVE}, write init_lora_weights: default", (None,)),
    "quantization.mode": ("write quantization.bits", (None,)),
    "quantization.qat": (_LEAVE, (False,)),
    "generation.max_length": ("write max_new_tokens", (32,)),
    "generation.min_length": ("write min_new_tokens", (0,)),
    "generation.use_cache": (f"{_LEAVE}, the cache is always used", (True,)),
    **{f"generation.{key}": (_LEAVE, (None, False, 0, 1)) for key in _GENERATION_KEYS.split()},
    "trainer.optimizer.lr": ("write trainer.learning_rate", ()),
    "trainer.regularization_type": (_OPTIMIZER, (None, "l1", "l2", "l1_l2")),
    "trainer.regularization_lambda": (_OPTIMIZER, (0,)),
    "trainer.max_batch_size": ("write trainer.batch_size", (2**40,)),
    "trainer.increase_batch_size_*": ("write trainer.batch_size", (0, 2, 5, "loss", "training")),
    "trainer.learning_rate_scaling": (f"{_LEAVE}, there is one process", ("linear", "constant", "sqrt")),
    "trainer.base_learning_rate": ("write trainer.learning_rate", (0,)),
    "trainer.bucketing_field": (f"{_LEAVE}, rows of like length are batched anyway", (None,)),
    "trainer.compile": (_LEAVE, (False,)),
    "trainer.layers_to_freeze_regex": ("write adapter with target_modules", (None,)),
    "trainer.enable_profiling": (_LEAVE, (False,)),
    "trainer.profiler": (_LEAVE, (None,)),
    "trainer.loss_balancing*": ("write loss.weight for each output", ("none", None)),
    "trainer.contrastive_*": (_LEAVE, (False, None, 0)),
    "trainer.modality_dropout": (_LEAVE, (0,)),
    "trainer.model_soup*": (_LEAVE, (None, 5)),
    "trainer.learning_rate_scheduler.reduce_*": ("write trainer.early_stop", (0, 10, 0.1, "loss", "training")),
    "trainer.learning_rate_scheduler.eta_min": (f"{_LEAVE}, the rate falls to zero", (0,)),
    "trainer.learning_rate_scheduler.t_*": (_LEAVE, (None, 1)),
    "trainer.learning_rate_scheduler.max_lr": ("write trainer.learning_rate", (None,)),
    f"trainer.{_PLATEAU}*": ("write trainer.early_stop", (0, 5, 0.5)),
    "trainer.reduce_learning_rate_eval_*": ("write trainer.early_stop", ("loss", "training")),
}
