"""A language model as it was before its training, to compare the trained one with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from declarlm.backbones import open_backbone
from declarlm.backbones.find import ADAPTER_FILES, find_folder
from declarlm.core.cache import file_digest
from declarlm.models.causal import build_causal
from declarlm.models.llm_weights import load_base

if TYPE_CHECKING:
    from declarlm.layers.causal_model import CausalModel
    from declarlm.models.llm import Llm


@contextmanager
def reference(model: Llm, *, at_start: bool = False) -> Iterator[CausalModel]:
    """Have the model that training started from: the base, or with ``pretrained_adapter_weights`` those.

    A new adapter is switched off for the length of the block. Otherwise it is a frozen copy, or the module itself
    where it is ``at_start``.
    """
    adapter = model.sections.adapter
    if adapter is not None and adapter.pretrained_adapter_weights is None:
        with model.without_adapter():
            yield model.module
    elif at_start:
        yield model.module
    else:
        yield frozen_copy(model)


def frozen_copy(model: Llm) -> CausalModel:
    """Return another module, with the weights that training started from, on the same device."""
    sections, device = model.sections, str(model.module.device)
    adapter = None if sections.adapter is None else sections.adapter.build()
    backbone = open_backbone(str(sections.base_model))
    network = load_base(backbone, sections.quantization, adapter, trains=True, device=device)
    if adapter is not None:
        network = adapter.attach(network, total_steps=0, seed=0)
    return build_causal(network.to(device)).eval().requires_grad_(False)


def identity(model: Llm) -> list[Any]:
    """Return what the reference's numbers depend on beside the rows, as JSON data."""
    import torch

    sections, module = model.sections, model.module
    base = open_backbone(str(sections.base_model)).fingerprint
    start = None if sections.adapter is None else sections.adapter.pretrained_adapter_weights
    if start is not None:
        start = file_digest(find_folder(start, ADAPTER_FILES) / ADAPTER_FILES[1])
    bits = None if sections.quantization is None else sections.quantization.dump()
    types = sorted({str(weight.dtype) for weight in module.parameters()})
    return [base, start, bits, module.device.type, types, torch.__version__]
