"""All that a config can name, and the JSON Schema of what people write."""

from __future__ import annotations

from typing import Any

from declarlm.adapters.base import adapters
from declarlm.backends import backends
from declarlm.combiners.base import combiners
from declarlm.config.base import KINDS, foreign_keys
from declarlm.core import Registry
from declarlm.core.json_schema import DRAFT, json_schema
from declarlm.data.split import splits
from declarlm.decoders.base import decoders
from declarlm.encoders.base import encoders
from declarlm.features.base import input_features, output_features
from declarlm.hyperopt.executors import executors
from declarlm.hyperopt.schedulers import schedulers as trial_schedulers
from declarlm.hyperopt.searchers import searchers
from declarlm.hyperopt.spaces import spaces
from declarlm.losses.base import losses
from declarlm.metrics import metrics
from declarlm.objectives.base import objectives
from declarlm.rewards.base import rewards
from declarlm.training.optimizers import optimizers
from declarlm.training.schedules import schedules

REGISTRIES: dict[str, Registry[Any]] = {
    "input_features": input_features,
    "output_features": output_features,
    "encoders": encoders,
    "combiners": combiners,
    "decoders": decoders,
    "losses": losses,
    "metrics": metrics,
    "adapters": adapters,
    "objectives": objectives,
    "rewards": rewards,
    "optimizers": optimizers,
    "schedules": schedules,
    "splits": splits,
    "spaces": spaces,
    "searchers": searchers,
    "trial_schedulers": trial_schedulers,
    "executors": executors,
    "backends": backends,
}


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft-07) of what people write: all that ``complete`` fills in may be left out.

    Every key stands at the top, so that an editor offers it; those of the other kind of model are then refused.
    """
    schemas = {name: json_schema(kind, untyped=("encoder", "decoder", "loss")) for name, kind in KINDS.items()}
    properties = {key: value for schema in schemas.values() for key, value in schema["properties"].items()}
    named = {"properties": {"model_type": {"const": "llm"}}, "required": ["model_type"]}
    given = {"not": {"type": "null"}}
    implied = [{"required": [key], "properties": {key: given}} for key in ("base_model", "architecture")]
    is_llm = {"anyOf": [named, {"properties": {"model_type": {"type": "null"}}, "anyOf": implied}]}
    properties |= {key: {"anyOf": [properties[key], {"type": "null"}]} for key in ("model_type", "trainer")}
    refused = {name: dict.fromkeys(foreign_keys(kind), False) for name, kind in KINDS.items()}
    return {
        "$schema": DRAFT,
        "title": "Declarlm config",
        "type": "object",
        "properties": {"$schema": {"type": "string", "description": "Where this schema lies."}, **properties},
        "additionalProperties": False,
        "required": ["input_features"],
        "if": is_llm,
        "then": {"properties": refused["llm"], "anyOf": implied},
        "else": {"properties": refused["ecd"]},
        "definitions": dict(sorted({**schemas["llm"]["definitions"], **schemas["ecd"]["definitions"]}.items())),
    }
