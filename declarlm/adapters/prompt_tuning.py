"""Prompt tuning: learned input embeddings before each row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.base import adapters
from declarlm.adapters.virtual_tokens import VirtualTokens, drawn_tokens, embedded
from declarlm.backbones import open_backbone
from declarlm.core import Problem, param

if TYPE_CHECKING:
    from torch import nn


@adapters.register("prompt_tuning")
class PromptTuningAdapter(VirtualTokens):
    """Learn the embeddings of virtual tokens before each row, a few thousand weights in all.

    They start as the embeddings of a text, or of tokens drawn from the vocabulary, so that the base knows them.
    Source: Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", 2021,
    https://arxiv.org/abs/2104.08691, section 3.
    """

    learning_rate = 3e-2
    peft_type = "PROMPT_TUNING"

    class Config(VirtualTokens.Config):
        prompt_tuning_init: Literal["auto", "text", "sample_vocab", "random"] = param(
            "First values: the embeddings of a text or of drawn tokens, or numbers of their size drawn at random; auto "
            "is text where there is one.",
            default="auto",
        )
        prompt_tuning_init_text: str | None = param(
            "Text that the virtual tokens start as; repeated or cut to their number.", default=None
        )

        @property
        def beginning(self) -> str:
            """What they start as."""
            usual = "sample_vocab" if self.prompt_tuning_init_text is None else "text"
            return usual if self.prompt_tuning_init == "auto" else self.prompt_tuning_init

        def check(self) -> Iterable[Problem]:
            text = self.prompt_tuning_init_text
            if self.beginning == "text" and not (text or "").strip():
                yield Problem("prompt_tuning_init_text", "must be a text that the virtual tokens start as")
            elif self.beginning != "text" and text is not None:
                yield Problem(
                    "prompt_tuning_init_text", f"has no effect with {self.beginning!r}; leave one of them out"
                )

    config: Config

    def settings(self, module: nn.Module) -> Any:
        from peft import PromptTuningConfig

        return PromptTuningConfig(**self.shared_settings(module), prompt_tuning_init="RANDOM")

    def start(self, wrapped: Any, seed: int) -> None:
        import torch

        number, base = self.config.num_virtual_tokens, wrapped.get_base_model()
        vectors = wrapped.prompt_encoder["default"].embedding.weight
        if self.config.beginning == "random":
            spread = embedded(base, drawn_tokens(base, 256, seed)).float().std()
            first = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed)) * spread.cpu()
        else:
            first = embedded(base, self._tokens(base, number, seed))
        with torch.no_grad():
            vectors.copy_(first.to(vectors))

    def _tokens(self, base: Any, number: int, seed: int) -> list[int]:
        if self.config.beginning == "sample_vocab":
            return drawn_tokens(base, number, seed)
        tokenizer = open_backbone(base.name_or_path).tokenizer
        ids: list[int] = tokenizer.encode(str(self.config.prompt_tuning_init_text), add_special_tokens=False)
        return (ids * (number // max(1, len(ids)) + 1))[:number]
