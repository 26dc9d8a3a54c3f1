"""Virtual tokens: what they start as, and what they leave of the context."""

import pytest
import torch
from shapes import base

from declarlm import ConfigError, DeclarLM
from declarlm.adapters import adapters
from declarlm.backbones import open_backbone

ROWS = {"text": ["play jazz", "book a table"] * 6, "intent": ["play", "book"] * 6}


def config(**adapter):
    return {
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "intent", "type": "category"}],
        "adapter": {"type": "prompt_tuning", **adapter},
        "trainer": {"train_steps": 1, "batch_size": 4},
    }


def vectors(module):
    return module.prompt_encoder["default"].embedding.weight.detach()


def test_they_start_as_the_embeddings_of_a_text():
    backbone = open_backbone("starter")
    module = backbone.load_causal()
    text = "Sort the request."
    ids = backbone.tokenizer.encode(text, add_special_tokens=False)
    expected = module.get_input_embeddings().weight[torch.tensor((ids * 9)[:9])].detach().clone()
    made = adapters["prompt_tuning"].Config(num_virtual_tokens=9, prompt_tuning_init_text=text).build()
    assert torch.equal(vectors(made.attach(module, total_steps=1, seed=0)), expected)


def test_drawn_ones_are_embeddings_too_and_random_ones_of_their_size():
    plain = base("llama")
    known = plain.get_input_embeddings().weight.detach().clone()
    drawn = vectors(adapters["prompt_tuning"].Config(num_virtual_tokens=6).build().attach(plain, total_steps=1, seed=0))
    assert all((known == vector).all(dim=1).any() for vector in drawn)
    random = adapters["prompt_tuning"].Config(num_virtual_tokens=200, prompt_tuning_init="random").build()
    spread = vectors(random.attach(base("llama"), total_steps=1, seed=0)).std()
    assert spread == pytest.approx(known.std().item(), rel=0.2)


def test_they_take_their_part_of_the_context(tmp_path):
    context = open_backbone("starter").context_length
    result = DeclarLM(config(num_virtual_tokens=30)).train(ROWS, output=tmp_path)
    assert result.model._ready().max_length == context - 30
    with pytest.raises(ConfigError) as error:
        DeclarLM(config(num_virtual_tokens=context)).train(ROWS, output=tmp_path)
    assert "adapter.num_virtual_tokens: must be at most" in str(error.value)
    assert f"half of the {context} tokens that the base takes, got {context}" in str(error.value)
