"""Adapters in modules and in folders, in PEFT's own format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.switching import quiet, remember
from declarlm.backbones.libraries import import_libraries, reason
from declarlm.backbones.trust import check_adapter_config, check_weights
from declarlm.core import ModelError
from declarlm.core.files import write_bytes, write_json

if TYPE_CHECKING:
    from torch import nn


def wrap(module: nn.Module, settings: Any, seed: int) -> nn.Module:
    """Return the base with a new adapter in it, given PEFT's settings."""
    import_libraries()
    from peft import get_peft_model

    base = {id(weight) for weight in module.parameters()}
    with quiet(), seeded(seed):
        wrapped: nn.Module = get_peft_model(module, settings)
    remember(module, [weight for weight in wrapped.parameters() if weight.requires_grad and id(weight) in base])
    return wrapped.train(module.training)


def task_type(module: Any) -> str:
    """Return what PEFT calls that which a base does."""
    if not getattr(module, "can_generate", lambda: False)():
        return "FEATURE_EXTRACTION"
    return "SEQ_2_SEQ_LM" if getattr(module.config, "is_encoder_decoder", False) else "CAUSAL_LM"


def save_adapter(module: Any, folder: Path) -> None:
    """Write an adapter's settings and weights, the same bytes for the same adapter."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    with quiet():
        weights = get_peft_model_state_dict(module, save_embedding_layers=False)
    settings = {**module.peft_config["default"].to_dict(), "inference_mode": True}
    write_bytes(
        folder / "adapter_model.safetensors",
        save({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, {"format": "pt"}),
    )
    write_json(
        folder / "adapter_config.json",
        {key: sorted(value) if isinstance(value, set) else value for key, value in sorted(settings.items())},
    )


def load_adapter(module: nn.Module, folder: Path, peft_type: str, *, trainable: bool) -> nn.Module:
    """Return the base with the adapter of a folder in it; see ``Adapter.load``."""
    import_libraries()
    from peft import PeftModel
    from safetensors import SafetensorError

    saved_type = check_adapter_config(folder).get("peft_type")
    if saved_type != peft_type:
        raise ModelError(
            f"{folder} holds an adapter of type {str(saved_type).lower()}, not {peft_type.lower()}; "
            f"write adapter.type: {str(saved_type).lower()}"
        )
    place = str(next(module.parameters()).device)
    remember(module, _overwritten(module, folder))
    try:
        with quiet(), seeded(0):
            loaded: nn.Module = PeftModel.from_pretrained(
                module, str(folder), is_trainable=trainable, torch_device=place
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"the adapter in {folder} does not fit this base: {reason(error)}") from error
    _check_names(loaded, folder)
    return loaded.train(module.training)


def _overwritten(module: nn.Module, folder: Path) -> list[nn.Parameter]:
    """Return the weights of a base that an adapter's file has values for, such as its biases."""
    found = base_names(folder)
    return [weight for name, weight in module.named_parameters() if name in found]


def base_names(folder: Path) -> set[str]:
    """Return the names in an adapter's file as those of its base; most of them name none of its weights.

    Raises:
        ModelError: If there is no such file, or it is damaged.
        RefusedError: If it is unsafe to open.
    """
    return {name.removeprefix("base_model.model.").replace(".base_layer.", ".") for name in _names(folder)}


def _names(folder: Path) -> set[str]:
    from safetensors import SafetensorError, safe_open

    check_weights(folder, "adapter_model")
    try:
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            return set(file.keys())
    except SafetensorError as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {error}") from error


def _check_names(module: nn.Module, folder: Path) -> None:
    """Refuse a file that lacks weights, or has some that found no place: PEFT only warns."""
    from peft import get_peft_model_state_dict

    found = _names(folder)
    with quiet():  # PEFT doubts the layers that AdaLoRA left no rank
        expected = set(get_peft_model_state_dict(module, save_embedding_layers=False))
    if found != expected:
        kind, name = ("lacks", min(expected - found)) if expected - found else ("has a surplus", min(found - expected))
        raise ModelError(f"the adapter in {folder} does not fit this base: it {kind} {name}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generator that draws an adapter's first weights, and put it back as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
