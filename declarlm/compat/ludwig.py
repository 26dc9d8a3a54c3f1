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
_HEAD_KEYS = "output_size activation norm dropout"
_TYPES = "text category number numerical binary set bag sequence date vector timeseries image audio h3"
# What generation keys are without effect at; null is so at each.
_GENERATION: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("early_stopping", "renormalize_logits", "remove_invalid_values"), (False,)),
    **dict.fromkeys(("num_beam_groups", "typical_p", "encoder_repetition_penalty"), (1,)),
    **dict.fromkeys(
        ("epsilon_cutoff", "eta_cutoff", "diversity_penalty", "encoder_no_repeat_ngram_size", "penalty_alpha"), (0,)
    ),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id", "pad_token_id", "bos_token_id", "eos_token_id"), ()),
    **dict.fromkeys(("bad_words_ids", "force_words_ids", "suppress_tokens", "begin_suppress_tokens"), ()),
    **dict.fromkeys(("prompt_lookup_num_tokens", "guidance_scale", "sequence_bias", "max_time"), ()),
    **dict.fromkeys(("exponential_decay_length_penalty", "constraints"), ()),
}
_PLACES = ("*_features", "defaults")
_PREPROCESSING = {
    "word_tokenizer": "tokenizer",
    "word_most_common": "most_common",
    "word_sequence_length_limit": "max_sequence_length",
    "sequence_length_limit": "max_sequence_length",
}
_PLATEAU = "reduce_learning_rate_on_plateau"
_SCHEDULE = "trainer.learning_rate_scheduler"
_LAYERED = ("input_features.*.encoder", "output_features.*.decoder", "combiner")

_OBJECTIVES = {"dpo": "beta loss_type label_smoothing", "orpo": "beta", "kto": "beta"}
_OBJECTIVES |= {"grpo": "beta epsilon num_generations"}

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
    "backend.trainer.num_workers": "/backend.num_workers",
    "backend.trainer.strategy": "/backend.strategy",
    "backend.trainer.resources_per_worker.CPU": "/backend.cpu_resources_per_worker",
    "backend.trainer.resources_per_worker.GPU": "/backend.gpu_resources_per_worker",
    "backend.trainer.use_gpu": "/backend.gpu_resources_per_worker",
    "preprocessing.split_probabilities": "split.probabilities",
    **{f"{place}.*.preprocessing.{old}": new for place in _PLACES for old, new in _PREPROCESSING.items()},
    **{f"input_features.*.{key}": f"encoder.{key}" for key in _ENCODER_KEYS.split()},
    **{f"output_features.*.{key}": f"decoder.{key}" for key in _DECODER_KEYS.split()},
    **{f"{place}.*.decoder.fc_{key}": key for place in ("output_features", "defaults") for key in _HEAD_KEYS.split()},
    "output_features.*.preprocessing.vocab": "labels",
    "output_features.*.decoder.fallback_label": "../preprocessing.fallback_label",
    "adapter.target_r": "r",
    "model_parameters.rope_scaling.type": "rope_type",
    **{f"trainer.{name}_{key}": key for name, keys in _OBJECTIVES.items() for key in keys.split()},
    "trainer.neftune_noise_alpha": "/model_parameters.neftune_noise_alpha",
}

# What a value is called here.
VALUES: dict[str, list[tuple[Any, Any]]] = {
    "prompt.retrieval.k": [(0, 1)],
    "*_features.*.type": [("numerical", "number")],
    "model_parameters.rope_scaling": [({}, None)],
    "trainer.eval_batch_size": [(0, None)],
    "generation.min_new_tokens": [(None, 0)],
    "trainer.precision": [(True, "bf16"), (False, "fp32")],
    "trainer.learning_rate_scheduler.type": [(None, "constant"), (True, "exponential"), (False, "constant")],
    "trainer.validation_field": [("combined", None)],
    "backend.strategy": [({"type": "ddp"}, "ddp"), ({"type": "fsdp"}, "fsdp"), ("horovod", "ddp")],
    "backend.gpu_resources_per_worker": [(True, "auto"), (False, 0)],
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

# What says something about the file, not about the model.
IGNORED: tuple[str, ...] = ("$schema", "ludwig_version")

# What has no effect here whatever its value is, of the kind or among those named; a note says why.
EFFECTLESS: dict[str, tuple[str, type | tuple[Any, ...]]] = {
    "*_features.*.proc_column": ("a column is not stored under another name", str),
    "*_features.*.preprocessing.computed_*": ("it is found in the data", object),
    "trainer.learning_rate_scaling": ("there is one process", ("linear", "constant", "sqrt")),
}

# What Declarlm does not have: what to write instead, and the values that ask for nothing, which are dropped: Ludwig's
# default, or one without effect. A mapping stands for each part of itself. A place in features is one in ``defaults``
# too.
_LEAVE = "leave it out"
_EACH_READS = f"{_LEAVE}, each process reads the rows itself"
_LAYERS = "write num_fc_layers and output_size"
_OPTIMIZER = "write trainer.optimizer.weight_decay"
_EARLY_STOP = "write trainer.early_stop"
_BATCH = "write trainer.batch_size"
_WORDS = f"{_LEAVE}, words are given trained vectors"
RETRIEVAL = {"type": None, "index_name": None, "model_name": None, "k": 0}
_INITIAL = f"{_LEAVE}, it follows from the kind of layer"
_LAYER_KEYS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "use_bias": (f"{_LEAVE}, layers have one", (True,)),
    "weights_initializer": (_INITIAL, (None, "xavier_uniform")),
    "bias_initializer": (_INITIAL, (None, "zeros")),
    "norm_params": (f"{_LEAVE}, and write norm: layer", (None,)),
    "fc_layers": (_LAYERS, (None,)),
}
ABSENT: dict[str, tuple[str, tuple[Any, ...]]] = {
    "preset": ("write encoder, combiner and trainer", (None,)),
    "is_multimodal": (f"{_LEAVE}, images are not read", (False,)),
    "trust_remote_code": (f"{_LEAVE}, a config never allows a model to run its own code", (False,)),
    "backend.cache_dir": ("set the environment variable DECLARLM_CACHE", (None,)),
    "backend.processor": (_EACH_READS, (None, {})),
    "backend.loader": (_EACH_READS, (None, {})),
    "backend.trainer": ("write num_workers, strategy and the like under backend", (None, {"resources_per_worker": {}})),
    "quantization.backend": (f"{_LEAVE}, bitsandbytes is used", ("bitsandbytes",)),
    "prompt.retrieval.index_name": (f"{_LEAVE}, the examples are kept with the run", (None,)),
    "*_features.*.active": (f"{_LEAVE} the whole feature", (True,)),
    "*_features.*.preprocessing.padding_symbol": (f"{_LEAVE}, padding is never seen", ("<PAD>",)),
    "*_features.*.preprocessing.unknown_symbol": (f"{_LEAVE}, it has no spelling", ("<UNK>",)),
    "*_features.*.preprocessing.sequence_length": ("write max_sequence_length", (None,)),
    "*_features.*.preprocessing.ngram_size": ("write encoder: {type: tf_idf, ngram_size: ...}", (2,)),
    "*_features.*.preprocessing.compute_idf": ("write encoder: tf_idf", (False,)),
    "input_features.*.encoder.skip": ("write encoder: passthrough", (False,)),
    "input_features.*.encoder.pretrained_kwargs": (f"{_LEAVE}, the model's own config.json decides", (None, {})),
    **{f"{place}.{key}": told for place in _LAYERED for key, told in _LAYER_KEYS.items()},
    **{f"output_features.*.decoder.fc_{key}": told for key, told in _LAYER_KEYS.items() if key != "fc_layers"},
    "input_features.*.encoder.embedding_initializer": (_INITIAL, (None,)),
    "input_features.*.encoder.embeddings_on_cpu": (f"{_LEAVE}, the model is on one device", (False,)),
    "input_features.*.encoder.embeddings_trainable": (_WORDS, (True,)),
    "input_features.*.encoder.pretrained_embeddings": ("write encoder: auto_transformer", (None,)),
    "input_features.*.encoder.representation": ("write encoder: tf_idf for texts, onehot for categories", ("dense",)),
    "input_features.*.encoder.vocab": (f"{_LEAVE}, it is found in the data", (None,)),
    "input_features.*.encoder.should_embed": (_WORDS, (True,)),
    "input_features.*.encoder.conv_layers": ("write num_filters and filter_sizes", (None,)),
    "input_features.*.encoder.num_conv_layers": ("write num_filters and filter_sizes", (None,)),
    "input_features.*.encoder.filter_size": ("write filter_sizes, such as [2, 3]", (3,)),
    "input_features.*.encoder.pool_function": (f"{_LEAVE}, the largest value of each filter is taken", ("max",)),
    "input_features.*.encoder.pool_size": (f"{_LEAVE}, the largest value of each filter is taken", (None,)),
    "combiner.flatten_inputs": (f"{_LEAVE}, inputs are vectors", (False,)),
    "combiner.residual": ("write num_fc_layers", (False,)),
    "input_features.*.preprocessing.prompt": (
        "use model_type: llm and prompt",
        (None, {"template": None, "task": None, "retrieval": RETRIEVAL}),
    ),
    "output_features.*.reduce_input": (f"{_LEAVE}, a head reads one vector", ("sum",)),
    "output_features.*.dependencies": (f"{_LEAVE}, outputs are predicted independently", ([],)),
    "output_features.*.reduce_dependencies": (f"{_LEAVE}, outputs are predicted independently", ("sum",)),
    "output_features.*.input_size": (f"{_LEAVE}, it follows from the combiner", (None,)),
    "output_features.*.decoder.input_size": (f"{_LEAVE}, it follows from the combiner", (None,)),
    "output_features.*.num_classes": (f"{_LEAVE}, it is found in the data", (None,)),
    "output_features.*.decoder.num_classes": (f"{_LEAVE}, it is found in the data", (None,)),
    "output_features.*.top_k": ("write hits_at_k under metrics", (3,)),
    "output_features.*.loss.class_similarities": (f"{_LEAVE}, or write label_smoothing", (None,)),
    "output_features.*.loss.class_similarities_temperature": (f"{_LEAVE}, or write label_smoothing", (0,)),
    "output_features.*.loss.robust_lambda": ("write label_smoothing", (0,)),
    "output_features.*.decoder.constrain_to_vocabulary": (f"{_LEAVE}, an answer is always a label", (True, False)),
    "output_features.*.decoder.match_strategy": ("write match with a type for each label", ("contains",)),
    "output_features.*.decoder.tokenizer": (f"{_LEAVE}, that of the base model is used", ("hf_tokenizer",)),
    "output_features.*.decoder.max_new_tokens": ("write generation.max_new_tokens", (None,)),
    "output_features.*.decoder.str2idx": (f"{_LEAVE}, labels are found in the data", (None,)),
    "*_features.*.preprocessing.outlier_replacement_strategy": ("write outlier_strategy", (None,)),
    "adapter.fan_in_fan_out": (f"{_LEAVE}, it follows from the layers", (False,)),
    "adapter.modules_to_save": (f"{_LEAVE}, or write adapter: last_layers", (None, [])),
    "adapter.init_ia3_weights": (f"{_LEAVE}, the vectors start at one", (True,)),
    "generation.forced_decoder_ids": (f"{_LEAVE}, an answer is decoded freely", (None,)),
    "adapter.layer_replication": (f"{_LEAVE}, the layers are those of the base", (None,)),
    "adapter.eva_config": (f"{_LEAVE}, write init_lora_weights: default", (None,)),
    "adapter.loftq_config": (f"{_LEAVE}, write init_lora_weights: default", (None,)),
    "adapter.total_step": (f"{_LEAVE}, it is the number of steps that training takes", (10000,)),
    "quantization.mode": ("write quantization.bits", (None,)),
    "quantization.qat": (f"{_LEAVE}, an adapter is trained on quantized weights", (False,)),
    "generation.max_length": ("write max_new_tokens", (32,)),
    "generation.min_length": ("write min_new_tokens", (0,)),
    "generation.use_cache": (f"{_LEAVE}, the cache is always used", (True,)),
    **{f"generation.{key}": (_LEAVE, (None, *values)) for key, values in _GENERATION.items()},
    "trainer.optimizer.lr": ("write trainer.learning_rate", ()),
    "trainer.regularization_type": (_OPTIMIZER, (None, "l2")),
    "trainer.regularization_lambda": (_OPTIMIZER, (0,)),
    "trainer.max_batch_size": (_BATCH, (2**40,)),
    "trainer.increase_batch_size_on_plateau": (_BATCH, (0,)),
    "trainer.increase_batch_size_on_plateau_patience": (_BATCH, (5,)),
    "trainer.increase_batch_size_on_plateau_rate": (_BATCH, (2,)),
    "trainer.increase_batch_size_on_plateau_max": (_BATCH, (512,)),
    "trainer.increase_batch_size_eval_metric": (_BATCH, ("loss",)),
    "trainer.increase_batch_size_eval_split": (_BATCH, ("training",)),
    "trainer.base_learning_rate": ("write trainer.learning_rate", (0,)),
    "trainer.bucketing_field": (f"{_LEAVE}, rows of like length are batched anyway", (None,)),
    "trainer.compile": (f"{_LEAVE}, the model runs as it is", (False,)),
    "trainer.layers_to_freeze_regex": ("write adapter with target_modules", (None,)),
    "trainer.enable_profiling": (f"{_LEAVE}, nothing is profiled", (False,)),
    "trainer.profiler": (
        f"{_LEAVE}, nothing is profiled",
        (None, {"wait": 1, "warmup": 1, "active": 3, "repeat": 5, "skip_first": 0}),
    ),
    "trainer.loss_balancing": ("write loss.weight for each output", (None, "none")),
    "trainer.loss_balancing_*": ("write loss.weight for each output", (None,)),
    "trainer.contrastive_pretrain": (f"{_LEAVE}, encoders come trained", (False,)),
    "trainer.contrastive_*": (f"{_LEAVE}, encoders come trained", (None,)),
    "trainer.modality_dropout": (f"{_LEAVE}, or write combiner.dropout", (0,)),
    "trainer.model_soup": (f"{_LEAVE}, the best weights are kept", (None,)),
    "trainer.model_soup_top_k": (f"{_LEAVE}, the best weights are kept", (5,)),
    f"{_SCHEDULE}.reduce_on_plateau": (_EARLY_STOP, (0,)),
    f"{_SCHEDULE}.reduce_on_plateau_patience": (_EARLY_STOP, (10,)),
    f"{_SCHEDULE}.reduce_on_plateau_rate": (_EARLY_STOP, (0.1,)),
    f"{_SCHEDULE}.reduce_eval_metric": (_EARLY_STOP, ("loss",)),
    f"{_SCHEDULE}.reduce_eval_split": (_EARLY_STOP, ("training",)),
    f"{_SCHEDULE}.eta_min": (f"{_LEAVE}, the rate falls to zero", (0,)),
    f"{_SCHEDULE}.t_0": (f"{_LEAVE}, a cosine falls once", (None,)),
    f"{_SCHEDULE}.t_mult": (f"{_LEAVE}, a cosine falls once", (1,)),
    f"{_SCHEDULE}.max_lr": ("write trainer.learning_rate", (None,)),
    f"trainer.{_PLATEAU}": (_EARLY_STOP, (0,)),
    f"trainer.{_PLATEAU}_patience": (_EARLY_STOP, (5,)),
    f"trainer.{_PLATEAU}_rate": (_EARLY_STOP, (0.5,)),
    "trainer.reduce_learning_rate_eval_metric": (_EARLY_STOP, ("loss",)),
    "trainer.reduce_learning_rate_eval_split": (_EARLY_STOP, ("training",)),
}

# What has an effect with one schedule alone, by its name.
OF_SCHEDULES: dict[str, dict[str, Any]] = {
    "exponential": {"decay_rate": 0.96, "decay_steps": 10000, "staircase": False},
    "one_cycle": {"div_factor": 25, "final_div_factor": 1e4},
}

# The metric that decides unless another is named.
DECIDING = {"category": "accuracy", "binary": "roc_auc", "number": "mean_squared_error", "text": "loss"}

# What encoders by these names do not have of Ludwig's, as in ``ABSENT``.
_NAMES = (
    "auto_transformer albert bert camembert deberta distilbert electra gpt gpt2 llm longformer modernbert roberta t5"
)
PRETRAINED = (*_NAMES.split(), "xlmroberta", "xlnet")
WORD_ENCODERS = ("embed", "parallel_cnn", "transformer")
_AFTER: dict[str, tuple[str, tuple[Any, ...]]] = {
    "num_fc_layers": ("write combiner.num_fc_layers", (None, 0)),
    "fc_layers": ("write combiner.num_fc_layers and combiner.output_size", (None,)),
    "activation": ("write combiner.activation", (None, "relu")),
    "norm": ("write combiner.norm", (None,)),
    "fc_dropout": ("write combiner.dropout", (0,)),
}
_WIDTH: dict[str, tuple[str, tuple[Any, ...]]] = {"output_size": ("write combiner.output_size", (256,))}
OF_ENCODERS: list[tuple[tuple[str, ...], dict[str, tuple[str, tuple[Any, ...]]]]] = [
    (PRETRAINED, {**_AFTER, **_WIDTH}),
    (WORD_ENCODERS, {**_AFTER, **_WIDTH}),
    (("tf_idf",), _AFTER),
    (("transformer",), {"hidden_size": ("write embedding_size", (256,))}),
    (("parallel_cnn",), {"reduce_output": (f"{_LEAVE}, the largest value of each filter is taken", ("max",))}),
    (("dense",), {"num_layers": ("write num_fc_layers", ()), "fc_dropout": ("write dropout", (0,))}),
]
