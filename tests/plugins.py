"""Every registered plugin, with a section to make it from."""

import dataclasses
from typing import Any

import pytest

from declarlm.config import REGISTRIES
from declarlm.core import Section

PLUGINS = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry]

# Parameters without a default, by name; and what single plugins ask for although it has one.
REQUIRED: dict[str, Any] = {"name": "a", "column": "day", "entity_1": ["a"], "entity_2": ["b"]}
REQUIRED |= {"lower": 2, "upper": 8, "q": 2, "categories": [1, 2], "values": [1, 2], "of": "adapter.r", "value": 2.0}
REQUIRED |= {
    "rewards": [{"type": "length", "max": 5, "unit": "characters"}],
    "pattern": "a+",
    "run": "runs/judge",
    "function": "judge",
}
NEEDED: dict[str, dict[str, Any]] = {"auto_transformer": {"pretrained_model_name_or_path": "somewhere"}}
NEEDED |= {"length": {"max": 3}}


def plugin(kind: str, name: str) -> Any:
    return REGISTRIES[kind][name]


def required(section: type[Section]) -> dict[str, Any]:
    """Values for the parameters that have no default."""
    missing = dataclasses.MISSING
    names = [field.name for field in dataclasses.fields(section) if field.default is field.default_factory is missing]
    unknown = [name for name in names if name not in REQUIRED]
    assert not unknown, f"add a value for {unknown} to REQUIRED"
    return {name: REQUIRED[name] for name in names} | NEEDED.get(str(section.type), {})


def config_of(kind: str, name: str, **settings: Any) -> Any:
    section = plugin(kind, name).Config
    return section.load({**required(section), **settings})


def of_kind(kind: str) -> Any:
    return pytest.mark.parametrize("name", list(REGISTRIES[kind]))
