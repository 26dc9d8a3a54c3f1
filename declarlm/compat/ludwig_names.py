"""Encoders, losses and the like that Ludwig has and Declarlm has not: by name, with what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_TEXTS = "write transformer (from nothing), or auto_transformer with a folder or Hub name"
_COMBINERS = "write concat, with num_fc_layers for more, or comparator for two texts"
_LOSSES = "write softmax_cross_entropy, with class_weights or label_smoothing where labels are rare"
_ADAPTERS = "write lora, or what declarlm list adapters names"
_OPTIMIZERS = "write adamw, or what declarlm list optimizers names"

_ENCODERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("stacked_cnn", "stacked_parallel_cnn", "cnnrnn"), "write parallel_cnn"),
    (("rnn", "mamba", "mamba2", "jamba", "gpt", "gpt2", "xlnet", "t5", "longformer", "flaubert", "ctrl"), _TEXTS),
    (("llm",), "write auto_transformer, which also takes language models"),
    (("sparse", "target", "hash"), "write dense or onehot"),
    (("periodic",), "write ple"),
    (("wave",), "write dense: a date is read as points on circles"),
)
# By the pattern of their place; a name alone in the place of a section is found too.
NAMES: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "input_features.*.encoder": _ENCODERS,
    "defaults.*.encoder": _ENCODERS,
    "combiner": (
        (
            ("sequence", "sequence_concat", "project_aggregate", "transformer", "tabtransformer", "ft_transformer"),
            _COMBINERS,
        ),
        (("tabnet", "tabpfn_v2", "cross_attention", "gated_fusion", "hypernetwork", "perceiver"), _COMBINERS),
    ),
    "output_features.*.loss": (
        (("focal", "poly", "corn", "sparsemax", "entmax15", "entropic_open_set", "objectosphere"), _LOSSES),
        (("mean_absolute_percentage_error", "root_mean_squared_error"), "write mean_squared_error, or huber"),
        (("root_mean_squared_percentage_error",), "write mean_squared_error, with preprocessing.normalization: log1p"),
    ),
    "output_features.*.decoder": (
        (("mlp_classifier",), "write classifier, with num_fc_layers"),
        (("mlp_regressor",), "write regressor, with num_fc_layers"),
        (("generator", "transformer_generator"), "write base_model: texts are written by language models"),
    ),
    "adapter": (
        (("loha", "lokr", "fourierft", "tinylora", "c3a", "waveft", "vblora"), _ADAPTERS),
        (("boft", "hra"), "write oft"),
    ),
    "trainer.optimizer": (
        (("lbfgs", "adadelta", "adagrad", "adamax", "ftrl", "nadam", "radam", "lamb", "lars"), _OPTIMIZERS),
        (("schedule_free_adamw",), "write adamw, with learning_rate_scheduler: constant"),
        (("sgd_8bit", "adagrad_8bit", "rmsprop_8bit", "lion_8bit", "lamb_8bit", "lars_8bit"), "write adamw_8bit"),
    ),
    "trainer.learning_rate_scheduler": ((("wsd",), "write linear or cosine"),),
}


def unknown_names(tree: Any) -> None:
    """Refuse the names of what Ludwig has and Declarlm has not."""
    for place, groups in NAMES.items():
        for steps in [*tree.find(place), *tree.find(f"{place}.type")]:
            remedy = next((remedy for names, remedy in groups if tree.get(*steps) in names), None)
            if remedy is not None:
                tree.problem(steps, f"Declarlm does not have {tree.pop(steps)!r}: {remedy}")
                if steps == ("adapter", "type"):  # which must be there; what is wrong with it is said
                    tree.get("adapter")["type"] = "lora"


def named_by_type(tree: Any, kind: Callable[[Any, Any], Any]) -> None:
    """Ludwig calls the encoders of several types embed; here each has a name of its own."""
    names = {"set": "label_embedding", "date": "dense"}
    for steps in [*tree.find("input_features.*.encoder"), *tree.find("input_features.*.encoder.type")]:
        own = names.get(str(kind(tree, steps)))
        if own is not None:
            tree.translate(steps, [("embed", own)])
    for steps in tree.find_all("input_features.*.preprocessing.missing_value_strategy"):
        if kind(tree, steps) == "date":  # Ludwig's constant is an empty text, which is no date
            tree.translate(steps, [("fill_with_const", "fill_with_mean")])


def unread_by_type(tree: Any, kind: Callable[[Any, Any], Any]) -> None:
    """Drop what features and adapters of some types do not read, where it asks for nothing."""
    for steps in tree.find_all("*_features.*.preprocessing.fill_value"):
        if kind(tree, steps) == "binary" and tree.get(*steps) is None:
            tree.pop(steps)
        elif kind(tree, steps) in ("set", "date", "vector"):
            tree.refuse(
                steps, "leave it out, missing_value_strategy says what stands for a missing cell", ("", "<UNK>")
            )
    if tree.get("adapter", "type") == "adalora":
        for steps in tree.find("adapter.rank_pattern"):
            tree.refuse(steps, "leave it out, the ranks are found in training", (None, {}))
