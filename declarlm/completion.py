"""What a config leaves unsaid: fills in, across sections, the values that one section alone cannot know.

Works on plain data before validation, so nothing here may assume that a value has the right type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from declarlm.adapters.base import adapters
from declarlm.core import ConfigError, Problem
from declarlm.core.document import Document
from declarlm.encoders.base import encoders
from declarlm.features.base import input_features, output_features
from declarlm.objectives.base import Objective, objectives

FOREIGN = {"input_features": ("decoder", "loss"), "output_features": ("encoder",)}
OWN = ("name", "type", "column", "tied")
REGISTRIES: dict[str, Any] = {"input_features": input_features, "output_features": output_features}
LLM_LOSS = "next_token_softmax_cross_entropy"
_OF_LLM = ("base_model", "architecture", "adapters")  # each says that a model is a language model


def complete(document: Document) -> Document:
    """Return the config with its model type, feature parts, trainer type and learning rate written out."""
    if not isinstance(document.data, dict):
        return document
    data: dict[str, Any] = deepcopy(document.data)
    data.pop("$schema", None)
    if data.get("model_type") is None:
        data["model_type"] = "llm" if any(map(data.get, _OF_LLM)) else "ecd"
    if data.get("adapters") and data["model_type"] == "llm":
        data.setdefault("input_features", [])  # what comes from a run brings its own
    moved, found = _apply_defaults(data)
    _complete_features(data)
    _complete_adapter(data)
    _complete_trainer(data)
    _complete_chat(data)
    return replace(document, data=data, moved={**moved, **document.moved}, problems=(*document.problems, *found))


def _features(data: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    found = data.get(side)
    return [feature for feature in found if isinstance(feature, dict)] if isinstance(found, list) else []


def _apply_defaults(data: dict[str, Any]) -> tuple[dict[str, str], list[Problem]]:
    """Lay every feature over ``defaults.<type>``; return where each value that it took was written.

    What no feature took is judged here, and what is wrong with it returned too. What is no mapping, or named after no
    feature type, stays to be refused.
    """
    moved: dict[str, str] = {}
    defaults = data.get("defaults")
    if not isinstance(defaults, dict):
        return moved, []
    blocks = {key: value for key, value in defaults.items() if key in input_features and isinstance(value, dict)}
    own = [f"{kind}.{key}" for kind, given in blocks.items() for key in given if key in OWN]
    blocks = {kind: {key: value for key, value in given.items() if key not in OWN} for kind, given in blocks.items()}
    for side, foreign in FOREIGN.items():
        for index, feature in enumerate(data[side] if isinstance(data.get(side), list) else []):
            kind = str(feature.get("type")) if isinstance(feature, dict) else ""
            if kind in blocks:
                # A tied input has the encoder of another one.
                kept = {*foreign, *(["encoder"] if feature.get("tied") else [])}
                below = {key: value for key, value in blocks[kind].items() if key not in kept}
                below = _readable(below, feature, kind, side, data)
                places = {path: f"defaults.{kind}{path}" for path in _taken(below, feature)}
                moved.update({f"{side}[{index}]{path}": place for path, place in places.items()})
                feature.update(merged(deepcopy(below), feature))
    data["defaults"] = {key: value for key, value in defaults.items() if key not in blocks}
    taken = set(moved.values())
    found = [Problem(f"defaults.{place}", "belongs to one feature; write it there") for place in own]
    found += [problem for kind, given in blocks.items() for problem in _untaken(data, kind, given, taken)]
    return moved, found


def _readable(
    below: dict[str, Any], feature: dict[str, Any], kind: str, side: str, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the defaults of a feature without those that only features beside it read.

    A tied input reads as the one that it is tied to; and of what inputs and outputs of a type do not both have or
    read, such as labels, each takes its own.
    """
    given = below.get("preprocessing")
    if not isinstance(given, dict):
        return below
    left_out = {"max_sequence_length", "cache_encoder_embeddings"} if feature.get("tied") else set()
    (other,) = REGISTRIES.keys() - {side}
    if any(beside.get("type") == kind for beside in _features(data, other)):
        model_type = data["model_type"]
        left_out |= _keys_read(other, kind, model_type) - _keys_read(side, kind, model_type)
    return {**below, "preprocessing": {key: value for key, value in given.items() if key not in left_out}}


def _keys_read(side: str, kind: str, model_type: object) -> set[str]:
    """Return the keys of ``preprocessing`` that a model reads of a feature; of an odd model type, all there are."""
    if kind not in REGISTRIES[side]:
        return set()
    plugin = REGISTRIES[side][kind]
    unread = plugin.without_effect.get(model_type, {}) if isinstance(model_type, str) else {}
    return set(plugin.Config.schema().fields["preprocessing"].section.schema().fields) - set(unread)


def _untaken(data: Mapping[str, Any], kind: str, given: dict[str, Any], taken: set[str]) -> list[Problem]:
    """Return what is wrong with those defaults of a feature type that no feature took."""
    found: dict[str, list[Problem]] = {}
    for side, foreign in FOREIGN.items():
        # A part without a type is of the type that each feature names: without it, there is nothing to judge.
        used = any(feature.get("type") == kind for feature in _features(data, side))
        own = {key: value for key, value in given.items() if key not in foreign and not (used and _untyped(key, value))}
        feature = {**deepcopy(own), "name": kind, "type": kind}
        _complete_features({"model_type": data["model_type"], side: [feature]})
        try:
            REGISTRIES[side][kind].Config.load({key: value for key, value in feature.items() if key != "type"})
        except ConfigError as error:
            for problem in error.problems:
                found.setdefault(problem.path, []).append(problem)
    return [
        replace(problems[0], path=f"defaults.{kind}.{path}")
        for path, problems in found.items()
        # What only one side has, such as preprocessing.labels, is right if that side takes it.
        if len(problems) == 2 - any(path.split(".")[0] in foreign for foreign in FOREIGN.values())
        and not any(_related(f"defaults.{kind}.{path}", place) for place in taken)
    ]


def _untyped(key: str, value: Any) -> bool:
    return key in ("encoder", "decoder", "loss") and isinstance(value, dict) and "type" not in value


def _related(path: str, other: str) -> bool:
    """Return whether one of two places lies in the other."""
    return f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.")


def _taken(below: Any, above: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of all that ``merged`` takes from ``below``."""
    result = merged(below, above)
    if not (isinstance(result, dict) and isinstance(above, dict)):
        if result is not above:
            yield path
        return
    for key in result:
        if key not in above:
            yield f"{path}.{key}"
        elif isinstance(below, dict) and key in below and result[key] is not above[key]:
            yield from _taken(below[key], above[key], f"{path}.{key}")


def merged(below: Any, above: Any) -> Any:
    """Return ``above`` laid over ``below``; a plugin of another type replaces the whole part."""
    if isinstance(above, str) and isinstance(below, dict) and below.get("type", above) == above:
        return {**below, "type": above}
    if isinstance(below, str) and isinstance(above, dict) and above.get("type", below) == below:
        return {**above, "type": below}
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if "type" in below and above.get("type", below["type"]) != below["type"]:
        return above
    return {**below, **{key: merged(below[key], value) if key in below else value for key, value in above.items()}}


def _complete_features(data: dict[str, Any]) -> None:
    """Name the encoder of every input of an ecd model, and the decoder of every output."""
    kind = str(data["model_type"])
    for feature in _features(data, "input_features") if kind == "ecd" else ():
        if feature.get("type") in input_features and not feature.get("tied"):
            _default(feature, "encoder", input_features[feature["type"]].default_encoder)
            _keep_case(feature)
    for feature in _features(data, "output_features"):
        if feature.get("type") in output_features:
            plugin = output_features[feature["type"]]
            _default(feature, "decoder", plugin.default_decoders.get(kind))
            if feature.get("loss") is not None:
                _default(feature, "loss", LLM_LOSS if kind == "llm" else plugin.default_loss)


def _default(section: dict[str, Any], key: str, name: str | None) -> None:
    """Name the plugin of a part that is left out, or that only sets parameters of it."""
    part = section.get(key)
    if name is not None and part is None:
        section[key] = name
    elif name is not None and isinstance(part, dict) and "type" not in part:
        section[key] = {"type": name, **part}


def _keep_case(feature: dict[str, Any]) -> None:
    """Let an encoder that cuts words keep their case where the config says not to lower it."""
    preprocessing, encoder = feature.get("preprocessing"), feature["encoder"]
    part = encoder if isinstance(encoder, dict) else {"type": encoder}
    name = part.get("type")
    kept = isinstance(preprocessing, dict) and preprocessing.get("lowercase") is False
    if kept and isinstance(name, str) and name in encoders and "lowercase" in encoders[name].Config.schema().fields:
        feature["encoder"] = {**part, "lowercase": part.get("lowercase", False)}


def _complete_adapter(data: dict[str, Any]) -> None:
    """Let ``qlora`` mean 4 bits, and write out the scale that goes with the rank."""
    name = _adapter_name(data)
    if name == "qlora" and data.get("quantization") is None:
        data["quantization"] = {"bits": 4}
    if name not in adapters or "alpha" not in adapters[name].Config.schema().fields:
        return
    adapter = data["adapter"] if isinstance(data["adapter"], dict) else {"type": name}
    rank = adapter.get("r", adapters[name].Config().r)  # type: ignore[attr-defined]
    if adapter.get("alpha") is None and isinstance(rank, int) and rank > 0:
        data["adapter"] = {**adapter, "alpha": 2 * rank}


def _complete_chat(data: dict[str, Any]) -> None:
    """Let a text output be the last turn of a conversation that is the only input, and whose column it has or may have.

    Without a column, an output of the trainers that compare answers has one of its own.
    """
    inputs, outputs, prompt = _features(data, "input_features"), _features(data, "output_features"), data.get("prompt")
    if data["model_type"] != "llm" or len(inputs) != 1 or len(outputs) != 1:
        return
    asks = isinstance(prompt, dict) and any(prompt.get(key) is not None for key in ("template", "task"))
    kinds, preprocessing = (inputs[0].get("type"), outputs[0].get("type")), outputs[0].get("preprocessing") or {}
    trainer = data["trainer"]
    learns = isinstance(trainer, dict) and trainer.get("type") in ("finetune", "none")
    if kinds != ("conversation", "text") or asks or not isinstance(preprocessing, dict):
        return
    source = inputs[0].get("column") or inputs[0].get("name")
    own = outputs[0].get("column") or (source if learns else None)
    if own == source and preprocessing.get("reply", True):
        outputs[0]["column"] = source
        outputs[0]["preprocessing"] = {**preprocessing, "reply": True}


def _adapter_name(data: Mapping[str, Any]) -> str:
    adapter = data.get("adapter")
    return str(adapter.get("type") if isinstance(adapter, dict) else adapter)


def _complete_trainer(data: dict[str, Any]) -> None:
    """Name what is learned, and at which rate."""
    trainer = data.get("trainer")
    if isinstance(trainer, str):
        trainer = {"type": trainer}
    untrained = data["model_type"] == "llm" and trainer is None and data.get("adapter") is None
    if trainer is None:
        trainer = {}
    if isinstance(trainer, dict):
        trainer.setdefault("type", "none" if untrained else "finetune")
        if data["model_type"] == "llm" and data.get("dtype") in ("bf16", "fp16", "fp32") and trainer["type"] != "none":
            trainer.setdefault("precision", data["dtype"])
        learns = data["model_type"] == "llm" and trainer["type"] != "none"
        if learns and trainer.get("learning_rate", "auto") == "auto":
            trainer["learning_rate"] = _learning_rate(data, str(trainer["type"]))
    data["trainer"] = trainer


def _learning_rate(data: Mapping[str, Any], objective: str) -> float:
    """Return the rate that is known to work: the adapter's own, or one for all weights."""
    name, known = _adapter_name(data), objective in objectives
    plugin: type[Objective] = objectives[objective] if known else Objective
    if name in adapters:
        return adapters[name].learning_rate * plugin.adapter_share
    return 1e-3 if data.get("architecture") else plugin.full_rate
