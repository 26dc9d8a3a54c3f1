"""Tiny bases of five shapes, and which adapters fit each: ``python tests/adapters/shapes.py`` writes the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from declarlm.adapters import Adapter, adapters
from declarlm.core import ConfigError

VOCABULARY = 40
TABLE = Path(__file__).parents[2] / "docs" / "adapter-support.md"
SHAPES = {"llama": "Llama", "bloom": "Bloom", "gpt2": "GPT-2", "t5": "T5", "bert": "BERT"}
HEAD = """\
# Which adapters fit which bases

Made by `python tests/adapters/shapes.py`, which puts every adapter into a tiny base of each shape; a test trains each
of them there. Llama stands for Mistral, Qwen, Gemma and their kin, Bloom for bases with one layer for queries, keys and
values, GPT-2 for layers that store their weights as (in, out), BERT for text encoders.

"""
# Pairs that do not fit, each a config error that says why.
REFUSED = {
    *(("adaption_prompt", shape) for shape in ("bloom", "t5", "bert")),
    *(("bitfit", shape) for shape in ("llama", "t5")),
    ("oft", "gpt2"),
    *(("prefix_tuning", shape) for shape in ("t5", "bert")),
}
# What an adapter needs to be told in a base as small as these.
OPTIONS: dict[str, dict[str, Any]] = {
    "vera": {"r": 16},
    "last_layers": {"k": 1},
    **{kind: {"num_virtual_tokens": 4} for kind in ("prompt_tuning", "p_tuning", "prefix_tuning")},
}


def base(shape: str) -> Any:
    """A frozen base of two layers with random weights."""
    import transformers as hf

    heads = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    wide = {"initializer_range": 0.2}  # as deviation of the weights, so that layers matter
    torch.manual_seed(7)
    if shape == "llama":
        made = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=1, **heads, **wide))
    elif shape == "bloom":
        made = hf.BloomForCausalLM(hf.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2, **wide))
    elif shape == "gpt2":
        made = hf.GPT2LMHeadModel(
            hf.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, **wide)
        )
    elif shape == "t5":
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
        made = hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=VOCABULARY, **sizes))
    else:
        made = hf.BertModel(hf.BertConfig(vocab_size=VOCABULARY, max_position_embeddings=32, **heads, **wide))
    return made.requires_grad_(False).eval()


def batch(shape: str) -> dict[str, torch.Tensor]:
    """Two rows of random tokens, as the base takes them."""
    ids = torch.randint(2, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(3))
    return {"input_ids": ids, **({"decoder_input_ids": ids.flip(1)} if shape == "t5" else {})}


def adapter(kind: str) -> Adapter:
    """An adapter with its own settings but no dropout, as small as the base."""
    config = adapters[kind].Config
    dropout = {"dropout": 0.0} if "dropout" in config.schema().fields else {}
    return config.load({**dropout, **OPTIONS.get(kind, {})}).build()


def attached(kind: str, shape: str) -> tuple[Adapter, Any]:
    """An adapter in a base; a ConfigError where it does not fit."""
    made = adapter(kind)
    return made, made.attach(base(shape), total_steps=20, seed=0)


def table() -> str:
    """Return the table: trained weights where an adapter fits, and the reason where it does not."""
    lines = [f"| adapter | {' | '.join(SHAPES.values())} |", f"|---|{'---|' * len(SHAPES)}"]
    reasons: dict[str, int] = {}
    for kind in adapters:
        cells = []
        for shape in SHAPES:
            try:
                attached(kind, shape)
                cells.append("yes")
            except ConfigError as error:
                reason = "; ".join(f"`{problem.path}`: {problem.message}" for problem in error.problems)
                cells.append(f"no ({reasons.setdefault(reason, len(reasons) + 1)})")
        lines.append(f"| `{kind}` | {' | '.join(cells)} |")
    notes = [f"{number}. {reason}." for reason, number in reasons.items()]
    return HEAD + "\n".join([*lines, "", *notes]) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
