"""The optimizers of bitsandbytes: moments in 8 bits, or in memory that moves between GPU and host."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import RunError, param
from declarlm.training.optimizers.base import AdamConfig, Optimizer, optimizers

if TYPE_CHECKING:
    import torch


class BitsAndBytes(Optimizer):
    """Make the optimizer that bitsandbytes knows as ``library_name``."""

    can_shard = False

    library_name: ClassVar[str]

    class Config(AdamConfig):
        pass

    def build(self, groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
        try:
            from bitsandbytes import optim
        except ImportError:
            raise RunError(
                f"optimizer {self.config.type!r} needs bitsandbytes: pip install bitsandbytes, "
                "or set trainer.optimizer to adamw"
            ) from None
        # On a CPU there is nothing to page to; the numbers are the same.
        warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")
        options = self.config.dump()
        options["betas"] = tuple(options["betas"])
        optimizer: torch.optim.Optimizer = getattr(optim, self.library_name)(groups, lr=learning_rate, **options)
        return optimizer


class DecoupledConfig(BitsAndBytes.Config):
    """AdamW's default weight decay."""

    weight_decay: float = param(
        "Share of each weight that is taken off per unit of learning rate; not from biases, norms and adapters.",
        default=0.01,
        min=0,
    )


@optimizers.register("adam_8bit")
class Adam8bit(BitsAndBytes):
    """Adam with moments in 8 bits, in blocks with a scale each: a quarter of the memory.

    Source: Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2021, https://arxiv.org/abs/2110.02861.
    """

    library_name = "Adam8bit"


@optimizers.register("adamw_8bit")
class AdamW8bit(BitsAndBytes):
    """AdamW with moments in 8 bits, in blocks with a scale each: a quarter of the memory.

    Source: Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2021, https://arxiv.org/abs/2110.02861.
    """

    library_name = "AdamW8bit"

    class Config(DecoupledConfig):
        pass


@optimizers.register("paged_adam")
class PagedAdam(BitsAndBytes):
    """Adam with moments that move to the host's memory when the GPU's runs short.

    Source: Dettmers et al., "QLoRA", 2023, https://arxiv.org/abs/2305.14314, section 3.
    """

    library_name = "PagedAdam"


@optimizers.register("paged_adamw")
class PagedAdamW(BitsAndBytes):
    """AdamW with moments that move to the host's memory when the GPU's runs short.

    Source: Dettmers et al., "QLoRA", 2023, https://arxiv.org/abs/2305.14314, section 3.
    """

    library_name = "PagedAdamW"

    class Config(DecoupledConfig):
        pass


@optimizers.register("paged_adam_8bit")
class PagedAdam8bit(BitsAndBytes):
    """Adam with 8-bit moments that move to the host's memory when the GPU's runs short."""

    library_name = "PagedAdam8bit"


@optimizers.register("paged_adamw_8bit")
class PagedAdamW8bit(BitsAndBytes):
    """AdamW with 8-bit moments that move to the host's memory when the GPU's runs short."""

    library_name = "PagedAdamW8bit"

    class Config(DecoupledConfig):
        pass


@optimizers.register("lion")
class Lion(BitsAndBytes):
    """Step by the sign of an average of gradients; wants a third to a tenth of Adam's learning rate.

    Source: Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, https://arxiv.org/abs/2302.06675.
    """

    library_name = "Lion"

    class Config(Optimizer.Config):
        betas: list[float] = param(
            "Share of the average in a step, and its decay.", default=[0.9, 0.99], min=0, below=1
        )
