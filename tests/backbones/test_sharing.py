"""Weights that processes share: converted once, the same numbers, mapped from the file."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from declarlm.backbones import open_backbone
from declarlm.backbones.sharing import share_weights, shared_folder, stored_types, weights_folder
from tests.small_bases import save_tiny_llama


@pytest.fixture
def base(tmp_path) -> str:
    """A base that is stored as bfloat16."""
    folder = save_tiny_llama(tmp_path)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def test_a_shared_base_has_the_same_weights_and_is_mapped_from_its_file(base):
    backbone = open_backbone(base)
    assert stored_types(Path(base)) == {"BF16"}
    before = {name: weight.clone() for name, weight in backbone.load_causal().named_parameters()}
    share_weights(backbone)
    folder = weights_folder(backbone, "causal")
    assert folder == shared_folder(backbone, "causal")
    assert stored_types(folder) == {"F32"}
    model = backbone.load_causal()
    assert {name: weight.dtype for name, weight in model.named_parameters()} == dict.fromkeys(before, torch.float32)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert str(folder) in Path("/proc/self/maps").read_text(), "the weights lie in pages of the file"
    made = (folder / "model.safetensors").stat().st_mtime_ns
    share_weights(backbone)
    assert (folder / "model.safetensors").stat().st_mtime_ns == made


def test_a_base_of_another_type_is_not_read_from_there(base):
    backbone = open_backbone(base)
    share_weights(backbone)
    assert {weight.dtype for weight in backbone.load_causal(dtype="bfloat16").parameters()} == {torch.bfloat16}


def test_a_base_that_is_stored_as_it_is_computed_needs_no_copy(tmp_path):
    backbone = open_backbone(save_tiny_llama(tmp_path))
    share_weights(backbone)
    assert weights_folder(backbone, "causal") == backbone.folder
