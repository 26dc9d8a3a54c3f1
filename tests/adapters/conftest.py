"""Tiny bases with random weights, of families whose layers differ."""

from collections.abc import Callable
from typing import Any

import pytest

VOCABULARY = 40


@pytest.fixture
def tiny() -> Callable[[str], Any]:
    """Makes a frozen base: ``llama`` and ``bloom`` (linear), ``gpt2`` (weights ``(in, out)``), ``bert`` (encoder)."""
    import torch
    from transformers import (
        BertConfig,
        BertModel,
        BloomConfig,
        BloomForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
    )

    heads = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    makers = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=1, **heads)),
        "bert": lambda: BertModel(BertConfig(vocab_size=VOCABULARY, **heads)),
        "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2)),
    }

    def make(family: str) -> Any:
        torch.manual_seed(7)
        return makers[family]().requires_grad_(False).eval()

    return make


@pytest.fixture
def batch() -> dict[str, Any]:
    """Two rows of random tokens."""
    import torch

    ids = torch.randint(0, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(3))
    return {"input_ids": ids}
