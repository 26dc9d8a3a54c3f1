"""Weights that several processes share: on the disk in the type that is computed in, so that all map the same pages.

A base that is stored in another type is converted while it is loaded, into memory of each process's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from declarlm.core.cache import cache_folder
from declarlm.core.files import MANIFEST, atomic_folder

if TYPE_CHECKING:
    from declarlm.backbones.backbone import Backbone


def share_weights(backbone: Backbone) -> None:
    """Keep a language model in the cache in the type that a CPU computes in, unless it is stored so.

    Raises:
        ModelError: If it cannot be loaded.
        DiskError: If there is no room for it.
    """
    folder = shared_folder(backbone, "causal")
    if (folder / MANIFEST).is_file() or stored_types(backbone.folder) <= {"F32", "I64", "I32", "BOOL", "U8"}:
        return
    model = backbone.load_causal(dtype="float32")
    with atomic_folder(folder, shared=True) as temporary:
        model.save_pretrained(temporary)


def shared_folder(backbone: Backbone, kind: str) -> Path:
    """Return where the converted weights of a base lie, if they were made."""
    return cache_folder() / "bases" / f"{kind}-float32-{backbone.fingerprint}"


def weights_folder(backbone: Backbone, kind: str) -> Path:
    """Return where the weights of a base are read from as float32: the converted ones, if they were made."""
    folder = shared_folder(backbone, kind)
    return folder if (folder / MANIFEST).is_file() else backbone.folder


def stored_types(folder: Path) -> set[str]:
    """Return the types of the weights in a folder, as safetensors names them."""
    from safetensors import safe_open

    found: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  # it is no mapping
    return found


def num_weights(folder: Path) -> int:
    """Return how many numbers the weights in a folder are, by the headers of its files."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            total += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118  # as above
    return total
