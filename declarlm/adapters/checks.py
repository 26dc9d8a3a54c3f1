"""What must hold of an adapter before and after training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from declarlm.adapters.starts import first_factors
from declarlm.core import RunError

if TYPE_CHECKING:
    from torch import Tensor, nn


def distance_from_base(module: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Return the largest difference that the adapter makes to any output of the base.

    Args:
        module: What ``Adapter.attach`` or ``Adapter.load`` returned.
        inputs: A batch, as the module takes it.
    """
    wrapped: Any = module
    with still(module):
        adapted = outputs(module, inputs)
        with wrapped.disable_adapter():
            return float((adapted - outputs(module, inputs)).abs().max())


def check_start(module: nn.Module, inputs: Mapping[str, Tensor], *, tolerance: float = 0.0) -> None:
    """Check that a new adapter leaves the base as it is.

    Raises:
        RunError: If it does not; ``dora`` needs a tolerance for rounding.
    """
    distance = distance_from_base(module, inputs)
    if not distance <= tolerance:
        raise RunError(f"the new adapter moves the base's outputs by {distance:g} before any training")


def delta_norm(module: nn.Module) -> float:
    """Return the Frobenius norm of all that the adapter adds to the base's weights."""
    total = 0.0
    for layer in module.modules():
        factors = _factors(layer)
        if factors is not None:
            a, b = factors
            # |BA|^2 = tr(BA A'B') = <B'B, AA'>: two (r, r) matrices instead of an (out, in) one.
            total += layer_scale(layer) ** 2 * max(0.0, float(((b.T @ b) * (a @ a.T)).sum()))
    return math.sqrt(total)


def total_length(tensors: Iterable[Tensor]) -> float:
    """Return the length of all numbers of some tensors, taken as one vector, computed in float64."""
    return math.sqrt(sum(float(tensor.detach().double().square().sum()) for tensor in tensors))


def check_effect(norm: float) -> None:
    """Check the norm of what an adapter adds to its base.

    Raises:
        RunError: If it is zero or not finite.
    """
    if not (norm > 0 and math.isfinite(norm)):
        raise RunError(f"training left the adapter without effect: the norm of what it adds to the base is {norm:g}")


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Compute without gradients and dropout, then go on as before."""
    import torch

    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)


def outputs(module: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the logits of a language model, or the hidden vectors of an encoder, in float32."""
    if getattr(getattr(module, "config", None), "is_encoder_decoder", False) and "decoder_input_ids" not in inputs:
        inputs = {**inputs, "decoder_input_ids": inputs["input_ids"]}
    result = module(**inputs)
    values: Tensor = result.logits if hasattr(result, "logits") else result.last_hidden_state
    length = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]
    return values[:, -length:].float()  # without those of virtual tokens


def layer_scale(layer: Any) -> float:
    """Return what PEFT multiplies the update of a layer by."""
    scale = float(layer.scaling["default"])
    return scale / (float(layer.ranknum["default"]) + 1e-5) if hasattr(layer, "ranknum") else scale


def _factors(layer: Any) -> tuple[Tensor, Tensor] | None:
    """Return ``A (r, in)``, with AdaLoRA's E in it, and ``B (out, r)``, in float64, of an adapted layer."""
    if "default" not in getattr(layer, "lora_A", {}):
        return None
    import torch

    a, b = layer.lora_A["default"], layer.lora_B["default"]
    if hasattr(layer, "lora_E"):
        return (a * layer.lora_E["default"]).detach().double(), b.detach().double()
    a, b = a.weight.detach().double(), b.weight.detach().double()
    first = first_factors(layer)
    if first is not None:  # which came from the base, so that only the difference is added to it
        return torch.cat([a, first[0].to(a)], dim=0), torch.cat([b, -first[1].to(b)], dim=1)
    return a, b
