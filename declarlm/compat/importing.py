"""Whose config a file is, and what it says in Declarlm's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from declarlm.compat.axolotl import read_axolotl
from declarlm.compat.foreign import Foreign
from declarlm.compat.llama_factory import read_llama_factory
from declarlm.compat.upgrade import upgrade
from declarlm.core import ConfigError, Problem
from declarlm.core.document import Document


@dataclass(frozen=True)
class Imported:
    """A config that came from another tool.

    Attributes:
        tool: Whose it was.
        data: What it says, in Declarlm's words.
        notes: What a person should know of what became of it.
    """

    tool: str
    data: dict[str, Any]
    notes: tuple[str, ...]


_READERS: dict[str, tuple[str, Callable[[Foreign], None]]] = {
    "model_name_or_path": ("LLaMA-Factory", read_llama_factory),
    "datasets": ("Axolotl", read_axolotl),
    "pretraining_dataset": ("Axolotl", read_axolotl),
}
ORDER = ("model_type", "base_model", "input_features", "output_features", "prompt", "adapter", "quantization")


def import_config(document: Document) -> Imported:
    """Return a config of Ludwig, Axolotl or LLaMA-Factory in Declarlm's words; it is not validated.

    Raises:
        ConfigError: If it is none of these, or a key of Ludwig's has no counterpart.
    """
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError(document, [Problem("", "must hold the keys of a config")])
    if "input_features" in data or "output_features" in data:
        upgraded = upgrade(document)
        if upgraded.problems:
            raise ConfigError(upgraded, upgraded.problems)
        return Imported("Ludwig", _ordered(upgraded.data), upgraded.notes)
    for key, (tool, read) in _READERS.items():
        if key in data:
            foreign = Foreign(dict(data))
            read(foreign)
            return Imported(tool, _ordered(foreign.result), tuple(foreign.notes))
    known = "input_features (Ludwig), datasets (Axolotl) or model_name_or_path (LLaMA-Factory)"
    raise ConfigError(replace(document), [Problem("", f"is no config of a tool that is known: it has none of {known}")])


def _ordered(data: dict[str, Any]) -> dict[str, Any]:
    """Return the sections in the order in which a person reads them."""
    return {
        key: data[key] for key in [*(key for key in ORDER if key in data), *(key for key in data if key not in ORDER)]
    }
