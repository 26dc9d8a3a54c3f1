"""Where tensors live: a name that a person may give, checked before anything is put there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from declarlm.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    import torch


def check_device(name: str | None) -> None:
    """Refuse a name that no device has; loads nothing.

    Raises:
        ConfigError: If it is not ``cpu``, ``mps``, ``cuda`` or ``cuda:NUMBER``.
    """
    if name is not None and not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ConfigError("device", [Problem("", f"must be cpu, mps, cuda or cuda:1, got {name!r}")])


def find_device(name: str | None) -> str:
    """Return the device to use: the one that is named, or else a GPU if there is one.

    Raises:
        ConfigError: If it is not there.
    """
    import torch

    check_device(name)
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device", [Problem("", "mps is not available, use cpu")])
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if int(number or 0) >= count:
        found = f"there are {count} GPUs, the first is cuda:0" if count else "torch finds no GPU, use cpu"
        raise ConfigError("device", [Problem("", f"{name} is not available: {found}")])
    return name


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or on the host."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def release_memory(device: torch.device) -> None:
    """Give cached blocks back to the device, so that smaller ones can be cut."""
    import gc

    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
