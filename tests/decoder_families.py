"""Decoders of the families that people tune, each of two blocks with random weights, as folders."""

from pathlib import Path
from typing import Any

from small_bases import TEXTS

_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_LLAMA_LIKE = {**_SIZES, "num_key_value_heads": 1, "intermediate_size": 48, "head_dim": 16}
_LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
_FUSED = {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2}

# What transformers calls the family: its shape, and the last names of the layers that are to be adapted.
FAMILIES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "llama": (_LLAMA_LIKE, _LAYERS),
    "qwen2": (_LLAMA_LIKE, _LAYERS),
    "qwen3": (_LLAMA_LIKE, _LAYERS),
    "mistral": ({**_LLAMA_LIKE, "sliding_window": 16}, _LAYERS),
    "gemma": (_LLAMA_LIKE, _LAYERS),
    "gemma2": ({**_LLAMA_LIKE, "sliding_window": 16, "query_pre_attn_scalar": 16}, _LAYERS),
    "gemma3_text": ({**_LLAMA_LIKE, "sliding_window": 16, "query_pre_attn_scalar": 16}, _LAYERS),
    "phi3": ({**_SIZES, "intermediate_size": 48}, {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
    "gpt_neox": ({**_SIZES, "intermediate_size": 48}, _FUSED),
    "bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 2}, _FUSED),
    "falcon": ({**_SIZES, "multi_query": True}, _FUSED),
    "gpt2": (_GPT2, {"c_attn", "c_proj", "c_fc"}),
    "gpt_bigcode": (_GPT2, {"c_attn", "c_proj", "c_fc"}),
    "gptj": ({**_GPT2, "rotary_dim": 8}, {"q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"}),
    "opt": (
        {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32},
        {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"},
    ),
    "mpt": ({"d_model": 32, "n_layers": 2, "n_heads": 2}, {"Wqkv", "out_proj", "up_proj", "down_proj"}),
}


def save_family(family: str, folder: Path, *, context_length: int = 64) -> str:
    """Make a language model of a family in ``folder`` and return its path."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from declarlm.backbones.architecture import Architecture, Tokenizer, _tokenizer

    tokenizer = _tokenizer(Architecture(context_length=context_length, tokenizer=Tokenizer(vocab_size=300)), TEXTS)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    lengths = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    known = AutoConfig.for_model(family).to_dict() | {"max_position_embeddings": 0}
    length = {name: context_length for name in lengths if name in known}
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **FAMILIES[family][0], **ids, **length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
