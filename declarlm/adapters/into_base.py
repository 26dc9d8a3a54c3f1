"""A trained adapter in the weights of its base: what is written, and what that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from declarlm.adapters.checks import outputs, still
from declarlm.adapters.merge import merge_adapter
from declarlm.backbones.sharing import stored_types
from declarlm.core import ModelError
from declarlm.core.ragged import BORDER

if TYPE_CHECKING:
    from torch import Tensor, nn

    from declarlm.adapters.base import Adapter
    from declarlm.backbones import Backbone

Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
_STORED = {"BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True)
class Merged:
    """How far the outputs of a merged base are from those of the base with its adapter, at most.

    Attributes:
        largest_difference: Between logits (or hidden vectors), both computed in float32.
        after_rounding: The same once the merged weights are of ``dtype``.
        from_quantized: Between the logits of the quantized base with the adapter and those of the merged weights;
            null for a base that was not quantized.
        dtype: Type of the weights that were written.
    """

    largest_difference: float
    after_rounding: float
    from_quantized: float | None
    dtype: str

    def dump(self) -> dict[str, Any]:
        """Return this as plain data."""
        return asdict(self)

    def remark(self) -> str:
        """Return what a person should know of it."""
        told = (
            f"the adapter is merged: largest difference of a logit {self.largest_difference:.2g} in float32, "
            f"{self.after_rounding:.2g} as {self.dtype}"
        )
        if self.from_quantized is None:
            return told
        return f"{told}; {self.from_quantized:.2g} from the quantized base, whose rounding the adapter was trained on"


def merge_into_base(
    load: Callable[[], nn.Module],
    adapter: Adapter,
    folder: Path,
    rows: Sequence[Sequence[int]],
    *,
    precision: str,
    present: nn.Module | None = None,
) -> tuple[nn.Module, Merged]:
    """Return a base with a saved adapter in its weights, and what that changed.

    Args:
        load: Returns the base, unquantized, in float32.
        adapter: Its kind.
        folder: Where it was saved.
        rows: Token ids to compare outputs on; without any, some of the vocabulary.
        precision: Type of the weights in the end.
        present: The quantized base with the adapter, to be compared too.

    Raises:
        ModelError: If this kind of adapter cannot be merged, or the base is stored in few bits.
    """
    import torch

    if not adapter.can_merge:
        raise ModelError(f"an adapter of type {adapter.config.type} adds more than weights hold, and cannot be merged")
    inputs = [torch.tensor([[token for token in row if token != BORDER]]) for row in rows or [range(8)]]
    module = adapter.load(load(), folder)
    before = _outputs(module, inputs)
    merged, _ = merge_adapter(
        adapter, module, {"input_ids": inputs[0]}, progressbar=adapter.config.postprocessor.progressbar
    )
    exact = _distance(before, _outputs(merged, inputs))
    after = _outputs(merged.to(getattr(torch, precision)), inputs)
    quantized = None if present is None else _distance(_outputs(present, inputs), after)
    return merged, Merged(exact, _distance(before, after), quantized, precision)


def precision_of(backbone: Backbone, wanted: Precision) -> str:
    """Return the type of merged weights: the one that is wanted, or that of the base's files."""
    if wanted != "auto":
        return wanted
    found = stored_types(backbone.folder)
    return next((name for stored, name in _STORED.items() if stored in found and "F32" not in found), "float32")


def worst(found: Sequence[Merged | None]) -> Merged | None:
    """Return the one of several merges that changed most, None if there was none."""
    return max(filter(None, found), key=lambda merged: merged.after_rounding, default=None)


def _outputs(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    place = next(module.parameters()).device
    with still(module):
        return [outputs(module, {"input_ids": ids.to(place)}).cpu() for ids in inputs]


def _distance(some: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return max(float((one - other).abs().max()) for one, other in zip(some, others, strict=True))
