"""How much of a module trains."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Weights:
    """How many weights a module has.

    Attributes:
        trained: Those that train.
        total: All of them, of a quantized layer as many as it stands for.
        bytes: Memory of those that train; gradients and an optimizer take a multiple of it.
    """

    trained: int
    total: int
    bytes: int

    def dump(self) -> dict[str, int]:
        """Return this as plain data."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """What a person should know of it."""
        share = self.trained / max(1, self.total)
        size, unit = float(self.bytes), 0
        while size >= 1024 and unit + 1 < len(_UNITS):
            size, unit = size / 1024, unit + 1
        shown = f"{share:.2%}" if share >= 1e-4 else f"{share:.1e}"
        return f"trains {self.trained:,} of {self.total:,} weights ({shown}), {size:.3g} {_UNITS[unit]}"


def count_weights(module: nn.Module) -> Weights:
    """Return how many weights of a module there are, and train."""
    every = list(module.parameters())
    trained = [weight for weight in every if weight.requires_grad]
    return Weights(
        trained=sum(weight.numel() for weight in trained),
        total=sum(map(_size, every)),
        bytes=sum(weight.numel() * weight.element_size() for weight in trained),
    )


def _size(weight: Any) -> int:
    """Return how many weights a tensor stands for: bitsandbytes packs two of 4 bits into one number."""
    state = getattr(weight, "quant_state", None)
    return int(state.shape.numel()) if state is not None else int(weight.numel())
