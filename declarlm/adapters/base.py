"""What every adapter has in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.adapters.checks import check_effect, delta_norm
from declarlm.adapters.storage import load_adapter, save_adapter
from declarlm.adapters.switching import base_alone
from declarlm.core import ConfigError, Problem, Registry, Section, named_at, param

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

adapters: Registry[Adapter] = Registry("adapter", package="declarlm.adapters")


class Postprocessor(Section):
    """What happens to a trained adapter."""

    merge_adapter_into_base_model: bool = param(
        "Whether the update is added to the base's unquantized weights after training, and these are kept too.",
        default=False,
    )
    progressbar: bool = param("Whether merging shows its progress.", default=False)


class Adapter:
    """Train a small addition to a frozen base instead of the base.

    A subclass takes its section and defines ``add``; what it does not need of the rest, it leaves out.

    Attributes:
        learning_rate: Rate that suits this kind of adapter.
        peft_type: Name of the kind in PEFT's files.
        can_shard: Whether it trains where each process holds a part of each weight.
        can_merge: Whether the base's own weights can hold what it adds.
        takes_bits: Whether the base may be quantized.
        starts_at_base: Whether the model computes what its base does, before any training.
    """

    learning_rate: ClassVar[float]
    peft_type: ClassVar[str]
    can_shard: ClassVar[bool] = True
    can_merge: ClassVar[bool] = False
    takes_bits: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = True

    class Config(Section):
        pretrained_adapter_weights: str | None = param(
            "Run directory, folder or Hub name of an adapter to start from; its shape and targets come with it.",
            default=None,
        )
        postprocessor: Postprocessor = param("What happens after training.", default=Postprocessor())

        @property
        def extra_tokens(self) -> int:
            """How much of the context length it takes."""
            return 0

        def room(self, context_length: int | None) -> int | None:
            """Return how many tokens of a row fit beside it.

            Raises:
                ConfigError: If it takes more than half of them.
            """
            if context_length is None or not self.extra_tokens:
                return context_length
            if 2 * self.extra_tokens > context_length:
                most = context_length // 2
                problem = f"must be at most {most}, half of the {context_length} tokens that the base takes, got"
                raise ConfigError("config", [Problem("adapter.num_virtual_tokens", f"{problem} {self.extra_tokens}")])
            return context_length - self.extra_tokens

        @property
        def merges(self) -> bool:
            """Whether it ends in the weights of the base."""
            return self.postprocessor.merge_adapter_into_base_model

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def trains_base(self) -> bool:
        """Whether weights of the base train beside the adapter's own."""
        return False

    def attach(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        """Return the base with the adapter in it; only the adapter trains, with weights in float32.

        Args:
            module: The frozen base, which is changed in place.
            total_steps: Number of optimizer steps of the run.
            seed: Seed of the adapter's first weights; no other random state matters, and none is changed.

        Raises:
            ConfigError: If the section does not fit this base or this number of steps.
            ModelError: If the weights to start from cannot be used.
        """
        from declarlm.adapters.named import find_adapter

        start = self.config.pretrained_adapter_weights
        if start is not None:
            with named_at("adapter.pretrained_adapter_weights"):
                return self.load(module, find_adapter(start), trainable=True)
        return self.add(module, total_steps=total_steps, seed=seed)

    def add(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        """Return the base with a new adapter in it; see ``attach``."""
        raise NotImplementedError

    @property
    def reads_rows(self) -> bool:
        """Whether a new adapter starts from what some training rows do to the base; see ``prepare``."""
        return False

    def prepare(self, module: nn.Module, run: Callable[[], None]) -> None:
        """Give a new adapter first values that depend on the training rows, some of which ``run`` sends through it."""

    def parameter_groups(self, module: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        """Return the trained weights as an optimizer takes them; adapters have no weight decay."""
        return [{"params": trained(module), "lr": learning_rate, "weight_decay": 0.0}]

    def extra_loss(self, module: nn.Module) -> Tensor | None:
        """Return what is added to the loss once per optimizer step, ``float32 ()``."""
        return None

    def after_step(self, module: nn.Module, step: int) -> None:
        """Follow an optimizer step, while its gradients are still there; the first step is 1."""

    def settled(self, module: nn.Module) -> bool:
        """Return whether the adapter has the shape that training promises, so that it may be kept as the best."""
        return True

    def state(self, module: nn.Module) -> dict[str, Tensor]:
        """Return what a resumed run needs beside the trained weights."""
        return {}

    def restore(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Take up what ``state`` returned."""

    def effect(self, module: nn.Module) -> float:
        """Return the Frobenius norm of all that the adapter adds to the base, or of what it trains beside it."""
        return delta_norm(module)

    def check_learned(self, module: nn.Module) -> None:
        """Check that training gave the adapter an effect.

        Raises:
            RunError: If what it adds to the base is zero or not finite.
        """
        check_effect(self.effect(module))

    def merged(self, module: nn.Module, *, progressbar: bool = False) -> nn.Module:
        """Return the base with the adapter in its weights, of a module that is used up; for one that ``can_merge``."""
        wrapped: Any = module
        whole: nn.Module = wrapped.merge_and_unload(safe_merge=True, progressbar=progressbar)
        return whole

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the adapter into ``folder`` so that plain PEFT opens it."""
        save_adapter(module, folder)

    def load(self, module: nn.Module, folder: Path, *, trainable: bool = False) -> nn.Module:
        """Return the base with a saved adapter in it, frozen if it is not ``trainable``.

        Raises:
            ModelError: If the folder holds no adapter of this kind, or one for another base.
            RefusedError: If the folder is unsafe to open.
        """
        return load_adapter(module, folder, self.peft_type, trainable=trainable)

    def off(self, module: nn.Module) -> AbstractContextManager[None]:
        """Let the module compute what its base did before the adapter, for the length of a ``with`` block.

        Training goes on behind it as before. An adapter that is none of PEFT's does it its own way; one that changes
        weights of the base in place tells ``switching.remember`` before.

        Raises:
            ModelError: If this adapter cannot be switched off.
        """
        return base_alone(module)


@dataclass
class BoundAdapter:
    """An adapter together with the module it is in: what a trainer calls.

    Attributes:
        adapter: The adapter.
        module: What its ``attach`` returned.
    """

    adapter: Adapter
    module: nn.Module

    def extra_loss(self) -> Tensor | None:
        """Return what is added to the loss once per optimizer step."""
        return self.adapter.extra_loss(self.module)

    def after_step(self, step: int) -> None:
        """Follow an optimizer step, before its gradients are cleared."""
        self.adapter.after_step(self.module, step)

    def settled(self) -> bool:
        """Return whether the present weights may be kept as the best, and training may stop early."""
        return self.adapter.settled(self.module)

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs beside the trained weights."""
        return self.adapter.state(self.module)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what ``state`` returned."""
        self.adapter.restore(self.module, state)

    def off(self) -> AbstractContextManager[None]:
        """Let the module compute what its base did before the adapter, for the length of a ``with`` block."""
        return self.adapter.off(self.module)


def check_merging(adapter: Adapter.Config | None) -> Iterable[Problem]:
    """Yield what is wrong with merging an adapter, at its place in the adapter's section."""
    after = adapter.postprocessor if adapter is not None else Postprocessor()
    if adapter is not None and adapter.merges and not adapter.plugin.can_merge:
        problem = f"must be false: the weights of the base cannot hold what an adapter of type {adapter.type} adds"
        yield Problem("postprocessor.merge_adapter_into_base_model", problem)
    elif after.progressbar and not after.merge_adapter_into_base_model:
        yield Problem("postprocessor.progressbar", "has no effect: nothing is merged; leave it out")


def trained(module: nn.Module) -> list[nn.Parameter]:
    """Return the weights that train."""
    return [weight for weight in module.parameters() if weight.requires_grad]
