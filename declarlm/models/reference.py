"""A language model as it was before its training, to compare the trained one with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from typing import TYPE_CHECKING, Any

from declarlm.backbones import open_backbone
from declarlm.backbones.find import ADAPTER_FILES, find_folder
from declarlm.core import ModelError
from declarlm.core.cache import file_digest
from declarlm.models.causal import build_causal
from declarlm.models.llm import ADAPTER
from declarlm.models.llm_weights import load_base, placed
from declarlm.models.prompted import WEIGHTS

if TYPE_CHECKING:
    from declarlm.layers.causal_model import CausalModel
    from declarlm.models.llm import Llm


@contextmanager
def reference(model: Llm, *, at_start: bool = False) -> Iterator[CausalModel]:
    """Have the model that training started from: the base, or the weights that the config or the run began with.

    A new adapter is switched off for the length of the block. Otherwise it is a frozen copy, or the module itself
    where it is ``at_start``.
    """
    if model.adapter is not None and _start(model) is None:
        with model.without_adapter():
            yield model.module
    elif at_start:
        yield model.module
    else:
        yield frozen_copy(model)


def standing_reference(model: Llm) -> Callable[[], AbstractContextManager[CausalModel]]:
    """Return what has the reference again and again, as ``reference`` does; where it is a copy, that is made once."""
    if model.adapter is not None and _start(model) is None:
        return lambda: reference(model)
    copy = frozen_copy(model)
    return lambda: nullcontext(copy)


@contextmanager
def base_of(model: Llm) -> Iterator[Llm]:
    """Have the base of a trained model read and answer as that does, for the length of the block.

    Raises:
        ModelError: If there is no base, as where the model was made from scratch.
    """
    if model.adapter is not None:
        with model.without_adapter():
            yield model
        return
    sections = model.sections
    if sections.base_model is None:
        raise ModelError("the model was made from scratch, and has no base that it could be compared with")
    other = copy(model)
    device = str(model.module.device)
    network = load_base(sections.open(sections.base_model), sections, None, trains=False, device=device)
    other.module = build_causal(placed(network, device)).eval()
    yield other


def frozen_copy(model: Llm) -> CausalModel:
    """Return another module, with the weights that training started from, on the same device."""
    sections, device, start = model.sections, str(model.module.device), _start(model)
    config = sections.adapter
    adapter = None if config is None or start is None else config.replace(pretrained_adapter_weights=start).build()
    backbone = sections.open(_base(model))
    network = load_base(backbone, sections, adapter, trains=True, device=device)
    if adapter is not None:
        network = adapter.attach(network, total_steps=0, seed=0)
    return build_causal(placed(network, device)).eval().requires_grad_(False)


def identity(model: Llm) -> list[Any]:
    """Return what the reference's numbers depend on beside the rows, as JSON data."""
    import torch

    sections, module = model.sections, model.module
    base, start = open_backbone(_base(model)).fingerprint, _start(model)
    if start is not None:
        start = file_digest(find_folder(start, ADAPTER_FILES) / ADAPTER_FILES[1])
    bits = None if sections.quantization is None else sections.quantization.dump()
    types = sorted({str(weight.dtype) for weight in module.parameters()})
    return [base, start, bits, module.device.type, types, torch.__version__]


def _start(model: Llm) -> str | None:
    """Return where the adapter lies that training started from, None if it was new or there is none."""
    adapter = model.sections.adapter
    if adapter is not None and model.start is not None:
        return str(model.start.folder / ADAPTER)
    return None if adapter is None else adapter.pretrained_adapter_weights


def _base(model: Llm) -> str:
    """Return where the weights lie that training started from, or that lie under its adapter."""
    has_own = model.sections.adapter is None and model.start is not None
    return str(model.start.folder / WEIGHTS) if has_own and model.start else str(model.sections.base_model)
