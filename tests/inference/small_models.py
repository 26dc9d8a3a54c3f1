"""Models that the tests of this folder share."""

import torch
import transformers as hf

_SHAPE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GQA = {**_SHAPE, "num_key_value_heads": 2, "intermediate_size": 64}
_NEO = {"vocab_size": 97, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 8}
_NEO["attention_types"] = [[["global", "local"], 1]]
_SMALL = {
    "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, _GQA),
    "gpt2": (hf.GPT2Config, hf.GPT2LMHeadModel, {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "bloom": (hf.BloomConfig, hf.BloomForCausalLM, {"vocab_size": 97, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "neox": (hf.GPTNeoXConfig, hf.GPTNeoXForCausalLM, {**_SHAPE, "intermediate_size": 64}),
    "opt": (hf.OPTConfig, hf.OPTForCausalLM, {**_SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "gemma2": (hf.Gemma2Config, hf.Gemma2ForCausalLM, {**_GQA, "head_dim": 8, "sliding_window": 8}),
    "gemma3": (hf.Gemma3TextConfig, hf.Gemma3ForCausalLM, {**_GQA, "head_dim": 8, "sliding_window": 8}),
    "mistral": (hf.MistralConfig, hf.MistralForCausalLM, {**_GQA, "sliding_window": 8}),
    "phi3": (hf.Phi3Config, hf.Phi3ForCausalLM, {**_GQA, "pad_token_id": 2, "sliding_window": 8}),
    "gpt_neo": (hf.GPTNeoConfig, hf.GPTNeoForCausalLM, _NEO),
    "mpt": (hf.MptConfig, hf.MptForCausalLM, {"vocab_size": 97, "d_model": 32, "n_layers": 2, "n_heads": 4}),
    "mamba": (hf.MambaConfig, hf.MambaForCausalLM, {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2}),
}


def small(name, **changes):
    """Return a random model whose greedy answers vary and end."""
    config, model, shape = _SMALL[name]
    torch.manual_seed(0)
    made = model(config(**{**shape, **changes})).eval()
    for weight in made.parameters():
        if weight.ndim > 1:
            weight.data *= 5
    return made
