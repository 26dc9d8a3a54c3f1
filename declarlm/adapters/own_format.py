"""Adapters in folders, of the kinds that PEFT does not know: the same two files, read and written here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.backbones.trust import check_adapter_config, check_weights
from declarlm.core import ModelError
from declarlm.core.files import write_bytes, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from declarlm.adapters.base import Adapter

PREFIX = "base_model.model."  # as PEFT names what is in a base
WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
_NOT_OF_ITS_SHAPE = ("pretrained_adapter_weights", "postprocessor")


def write_own(adapter: Adapter, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write an adapter's settings and weights, the same bytes for the same adapter."""
    from safetensors.torch import save

    data = {f"{PREFIX}{name}": weight.detach().cpu().contiguous() for name, weight in weights.items()}
    write_bytes(folder / WEIGHTS, save(data, {"format": "pt"}))
    settings = {key: value for key, value in adapter.config.dump().items() if key not in _NOT_OF_ITS_SHAPE}
    write_json(folder / SETTINGS, {"peft_type": adapter.peft_type, **settings})


def read_own(folder: Path, peft_type: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings and the weights, by their names in the base, of an adapter of a kind.

    Raises:
        ModelError: If the folder holds none of this kind, or it is damaged.
        RefusedError: If it is unsafe to open.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    settings = check_adapter_config(folder)
    saved_type, wanted = str(settings.get("peft_type")).lower(), peft_type.lower()
    if saved_type != wanted:
        raise ModelError(
            f"{folder} holds an adapter of type {saved_type}, not {wanted}; write adapter.type: {saved_type}"
        )
    check_weights(folder, "adapter_model")
    try:
        found = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {error}") from error
    return settings, {name.removeprefix(PREFIX): weight for name, weight in found.items()}
