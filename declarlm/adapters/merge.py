"""Adding an adapter to the weights of its base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from declarlm.adapters.checks import outputs, still
from declarlm.core import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from declarlm.adapters.base import Adapter


def merge_adapter(
    adapter: Adapter,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    progressbar: bool = False,
) -> tuple[nn.Module, float]:
    """Return the base with the adapter in its weights, and the largest difference that this makes to any output.

    The sum is computed in float32 and rounded once.

    Args:
        adapter: The adapter.
        module: What ``Adapter.attach`` or ``Adapter.load`` returned; it is used up.
        inputs: A batch to compare outputs on, as the module takes it.
        dtype: Type of the merged weights; without it float32.
        progressbar: Whether to show how far it is.

    Raises:
        ModelError: If the base is quantized: the sum would be rounded to its few bits, and the adapter lost.
    """
    base = base_of(module)
    if getattr(base, "is_quantized", False):
        raise ModelError("an adapter cannot be merged into a quantized base; load the base without quantization first")
    module.float()
    with still(module):
        before = outputs(module, inputs)
    _untie(base)
    merged = adapter.merged(module, progressbar=progressbar)
    if dtype is not None:
        merged.to(dtype)
    with still(merged):
        after = outputs(merged, inputs)
    return merged, float((before - after).abs().max()) if before.numel() else 0.0


def base_of(module: Any) -> Any:
    """Return the base in PEFT's wrapper, or the module itself where there is none."""
    return module.get_base_model() if hasattr(module, "get_base_model") else module


def _untie(base: Any) -> None:
    """Give an adapted output head weights of its own, or merging would change the input embeddings too."""
    import torch

    head, embeddings = base.get_output_embeddings(), base.get_input_embeddings()
    layer = getattr(head, "base_layer", None)
    if layer is not None and layer.weight is embeddings.weight:
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        base.config.tie_word_embeddings = False
