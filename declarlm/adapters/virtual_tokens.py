"""What adapters have in common that put learned vectors before the tokens of every row, through PEFT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import Adapter, trained
from declarlm.adapters.checks import total_length
from declarlm.adapters.storage import load_adapter, task_type, wrap
from declarlm.core import param

if TYPE_CHECKING:
    from torch import Tensor, nn


class VirtualTokens(Adapter):
    """Let a frozen base read some learned vectors before each row. A subclass gives PEFT's settings for it.

    They take a part of the context length, and do not leave the base as it is, even before training. Of an
    encoder-decoder, the encoder reads them, as in Lester et al. 2021.
    """

    starts_at_base = False
    can_shard = False

    class Config(Adapter.Config):
        num_virtual_tokens: int = param("How many vectors stand before each row.", default=20, min=1)

        @property
        def extra_tokens(self) -> int:
            return self.num_virtual_tokens

    config: Config

    def add(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        self.check_base(module)
        wrapped: nn.Module = _read_by_encoder(wrap(module, self.settings(module), seed))
        self.start(wrapped, seed)
        return wrapped

    def check_base(self, module: nn.Module) -> None:
        """Refuse a base that cannot have this adapter.

        Raises:
            ConfigError: If it is one.
        """

    def settings(self, module: nn.Module) -> Any:
        """Return PEFT's own config of the adapter."""
        raise NotImplementedError

    def shared_settings(self, module: nn.Module) -> dict[str, Any]:
        """Return the part of PEFT's config that does not depend on the kind of adapter."""
        # One submodule is the encoder, or all of a base that is not divided; two would make vectors for a decoder too.
        number = self.config.num_virtual_tokens
        return {"task_type": task_type(module), "num_virtual_tokens": number, "num_transformer_submodules": 1}

    def start(self, wrapped: Any, seed: int) -> None:
        """Give the vectors of a new adapter their first values."""

    def load(self, module: nn.Module, folder: Path, *, trainable: bool = False) -> nn.Module:
        self.check_base(module)
        # What is saved are the vectors alone, so these train on, whatever made them.
        loaded: Any = _read_by_encoder(load_adapter(module, folder, self.peft_type, trainable=False))
        loaded.prompt_encoder.requires_grad_(False)
        loaded.prompt_encoder["default"].embedding.weight.requires_grad_(trainable)
        return loaded  # type: ignore[no-any-return]

    @contextmanager
    def off(self, module: nn.Module) -> Iterator[None]:
        wrapped: Any = module
        base = wrapped.get_base_model()
        replaced = {name: getattr(base, name) for name in ("forward", "generate") if hasattr(base, name)}
        for name, method in replaced.items():  # on the object itself, where they are found first
            setattr(wrapped, name, method)
        try:
            yield
        finally:
            for name in replaced:
                delattr(wrapped, name)

    def effect(self, module: nn.Module) -> float:
        """Return the length of all that trains."""
        weights = trained(module) or [weight for name, weight in module.named_parameters() if "prompt_encoder" in name]
        return total_length(weights)


def _read_by_encoder(wrapped: Any) -> Any:
    """Let an encoder-decoder's tokens go through the encoder's own table, which has noise on it where there is any.

    PEFT finds a table by its size: of BART, one that has the same weights and that nobody reads.
    """
    base = wrapped.get_base_model()
    if getattr(base.config, "is_encoder_decoder", False):
        wrapped.word_embeddings = base.get_encoder().get_input_embeddings()
    return wrapped


def embedded(module: Any, tokens: Sequence[int]) -> Tensor:
    """Return the base's input embeddings of tokens, ``(tokens, width)``."""
    import torch

    with torch.no_grad():
        place = next(module.parameters()).device
        found: Tensor = module.get_input_embeddings()(torch.tensor(list(tokens), device=place))
    return found


def drawn_tokens(module: Any, number: int, seed: int) -> list[int]:
    """Return random tokens of a base's vocabulary."""
    import torch

    size = int(module.get_input_embeddings().num_embeddings)
    generator = torch.Generator().manual_seed(seed)
    found: list[int] = torch.randint(0, size, (number,), generator=generator).tolist()
    return found
