"""How LoRA's factors start, where that takes more than drawing numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.storage import save_adapter
from declarlm.core import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

# These take a part out of the base's weights and put it into the factors.
TAKES_FROM_BASE = ("pissa", "olora")
_FIRST = "first_factors"
_TOKENS = 1024  # whose inputs are kept of each layer, at most


def lora_layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers that have factors, by name."""
    for name, layer in module.named_modules():
        if "default" in getattr(layer, "lora_A", {}):
            yield name, layer


def remember_first(module: nn.Module) -> None:
    """Keep the first values of the factors, which were taken from the base's weights."""
    for _, layer in lora_layers(module):
        factors = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
        setattr(layer, _FIRST, tuple(weight.detach().clone() for weight in factors))


def first_factors(layer: Any) -> tuple[Tensor, Tensor] | None:
    """Return what was kept of a layer, None where its factors started at nothing."""
    found: tuple[Tensor, Tensor] | None = getattr(layer, _FIRST, None)
    return found


def save_difference(module: Any, folder: Path) -> None:
    """Write an adapter of twice the rank that does to the untouched base what this one does to what is left of it.

    The base lost ``B0 A0`` when training began, so ``BA - B0 A0`` is what was learned: the factors ``[B, -B0]`` and
    ``[A; A0]``.
    """
    import torch

    settings = module.peft_config["default"]
    kept = {
        key: getattr(settings, key) for key in ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "init_lora_weights")
    }
    growth = math.sqrt(2) if settings.use_rslora else 2
    whole = []
    for _, layer in lora_layers(module):
        first = first_factors(layer)
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        if first is not None:
            whole.append((down, up, down.data, up.data))
            down.data = torch.cat([down.data, first[0].to(down)], dim=0)
            up.data = torch.cat([up.data, -first[1].to(up)], dim=1)
    settings.r, settings.lora_alpha, settings.init_lora_weights = 2 * settings.r, growth * settings.lora_alpha, True
    settings.rank_pattern = {name: 2 * rank for name, rank in settings.rank_pattern.items()}
    settings.alpha_pattern = {name: growth * alpha for name, alpha in settings.alpha_pattern.items()}
    try:
        save_adapter(module, folder)
    finally:
        for down, up, down_data, up_data in whole:
            down.data, up.data = down_data, up_data
        for key, value in kept.items():
            setattr(settings, key, value)


def start_from_inputs(module: nn.Module, run: Callable[[], None]) -> None:
    """Let the rows of each A be the directions in which the inputs of its layer differ most.

    Source: Paischer et al., "Explained Variance Adaptation", 2024, https://arxiv.org/abs/2410.07170, section 3, with
    the same rank in every layer.

    Args:
        module: The adapted base.
        run: Sends some training rows through it.
    """
    import torch

    seen: dict[str, list[Tensor]] = {}
    layers = dict(lora_layers(module))

    def keep(name: str) -> Callable[..., None]:
        def take(_: Any, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].detach().flatten(0, -2).float()
            missing = _TOKENS - sum(map(len, seen.setdefault(name, [])))
            seen[name] += [rows[:missing].cpu()] if missing > 0 else []

        return take

    hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    for name, layer in layers.items():
        down = layer.lora_A["default"].weight
        _, sizes, directions = torch.linalg.svd(torch.cat(seen[name]), full_matrices=False)
        known = min(len(down), int((sizes > 1e-6 * sizes[0]).sum()))
        with torch.no_grad():  # what the inputs do not fill stays as it was drawn
            down[:known] = directions[:known].to(down)


def start_near_unquantized(module: nn.Module, folder: Path) -> None:
    """Let the factors hold what 4 bits lost of each layer's weights, as far as their rank goes; the base stays.

    Source: Li et al., "LoftQ", 2023, https://arxiv.org/abs/2310.08659, section 3.2, with one step.

    Args:
        module: The adapted base of 4 bits.
        folder: Where its unquantized weights are.
    """
    import torch
    from peft.utils.integrations import dequantize_module_weight

    for name, layer in lora_layers(module):
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        whole = _stored(folder, f"{name.removeprefix('base_model.model.')}.weight").to(down)
        lost = whole - dequantize_module_weight(layer.get_base_layer()).to(down)
        left, sizes, right = torch.linalg.svd(lost, full_matrices=False)
        roots = (sizes[: len(down)] / layer.scaling["default"]).sqrt()
        with torch.no_grad():
            up[:, : len(roots)] = left[:, : len(roots)] * roots
            down[: len(roots)] = roots[:, None] * right[: len(roots)]


def _stored(folder: Path, name: str) -> Tensor:
    """Return the weight of a layer from the files of a base, some of which leave out the first part of its name."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for stored in file.keys():  # noqa: SIM118  it is no mapping
                if stored == name or name.endswith(f".{stored}"):
                    found: Tensor = file.get_tensor(stored)
                    return found
    raise ModelError(f"{folder} has no {name} that a start near the unquantized weights could be read from")
