"""OFT: layers whose inputs are rotated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.base import adapters
from declarlm.adapters.checks import total_length
from declarlm.adapters.peft_adapter import PeftAdapter
from declarlm.adapters.targets import Targets, linear_layers
from declarlm.core import ConfigError, Problem, param

if TYPE_CHECKING:
    from torch import nn

_BLOCKS = (32, 16, 8, 4, 2)


@adapters.register("oft")
class OftAdapter(PeftAdapter):
    """Rotate the inputs of each linear layer, block by block, which keeps the angles between what its neurons read.

    Replaces ``y = Wx`` by ``y = W R x`` with ``R`` of orthogonal blocks ``(oft_block_size, oft_block_size)``, each the
    Cayley transform of a skew-symmetric matrix that starts at zero, so that training starts from the base. Layers that
    store their weights as ``(in, out)``, as those of GPT-2, cannot have it.
    Source: Qiu et al., "Controlling Text-to-Image Diffusion by Orthogonal Finetuning", 2023,
    https://arxiv.org/abs/2306.07280, section 3.
    """

    learning_rate = 1e-3
    peft_type = "OFT"

    class Config(PeftAdapter.Config):
        oft_block_size: int | Literal["auto"] = param(
            "Inputs that are rotated together; auto is the largest of 32, 16, 8, 4 and 2 that divides the inputs of "
            "every layer.",
            default="auto",
            min=2,
        )
        dropout: float = param(
            "Probability that a block of inputs is not rotated in training.", default=0.0, min=0, below=1
        )
        coft: bool = param("Whether a rotation stays within eps of none.", default=False)
        eps: float = param("Most that a block may be turned with coft, by Frobenius norm.", default=6e-5, above=0)
        block_share: bool = param("Whether all blocks of a layer have one rotation.", default=False)

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if not self.coft and self.eps != type(self)().eps:
                yield Problem("eps", "has no effect without coft: true; leave it out")

    config: Config

    def settings(self, module: nn.Module, targets: Targets, total_steps: int, seed: int) -> Any:
        from peft import OFTConfig

        if targets.fan_in_fan_out:
            problem = "'oft' cannot rotate what a layer of GPT-2's kind (Conv1D) reads; write lora"
            raise ConfigError("config", [Problem("adapter.type", problem)])
        return OFTConfig(
            r=0,
            oft_block_size=self._size(module, targets),
            module_dropout=self.config.dropout,
            coft=self.config.coft,
            eps=self.config.eps,
            block_share=self.config.block_share,
            use_cayley_neumann=False,
            **self.shared_settings(module, targets),
        )

    def _size(self, module: nn.Module, targets: Targets) -> int:
        """Return how many inputs make a block.

        Raises:
            ConfigError: If that does not divide the inputs of a layer.
        """
        layers: dict[str, Any] = linear_layers(module)
        widths = {name: int(layers[name].in_features) for name in targets.names}
        common = math.gcd(*widths.values())
        wanted = self.config.oft_block_size
        size = next((one for one in _BLOCKS if common % one == 0), 0) if wanted == "auto" else wanted
        if size and common % size == 0:
            return size
        name = next(name for name, width in widths.items() if not size or width % size)
        problem = f"must divide {widths[name]}, the inputs of {name}; choose its layers by target_modules, or a divisor"
        raise ConfigError("config", [Problem("adapter.oft_block_size", f"{problem}, got {wanted}")])

    def effect(self, module: nn.Module) -> float:
        """Return the length of all that defines the rotations, which is zero where nothing is turned."""
        turned = [weight for name, weight in module.named_parameters() if ".oft_R." in name]
        return total_length(turned)
