import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from declarlm.backbones import open_backbone
from declarlm.core import ConfigError, ModelError


def test_loaded_weights_are_the_files_own_frozen_and_in_float32(stories):
    from safetensors.torch import load_file

    model = open_backbone(stories).load_causal()
    stored = load_file(Path(stories) / "model.safetensors")
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], weight.float()) for name, weight in stored.items())
    assert not any(weight.requires_grad for weight in model.parameters())
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert not model.training
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_stated_type_is_taken(name, stories):
    model = open_backbone(stories).load_encoder(dtype=name)
    assert {weight.dtype for weight in model.parameters()} == {getattr(torch, name)}


def test_an_unknown_type_is_a_config_error(stories):
    with pytest.raises(ConfigError) as caught:
        open_backbone(stories).load_causal(dtype="bf16")
    assert str(caught.value) == (
        "config: dtype: cannot be 'bf16' (did you mean 'bfloat16'?), choose from: auto, bfloat16, float16, float32"
    )


def test_the_encoder_is_the_language_model_without_its_head(stories):
    base = open_backbone(stories)
    ids = torch.tensor([[1, 5, 6, 7]])
    hidden = base.load_encoder()(ids).last_hidden_state
    causal = base.load_causal()
    assert torch.equal(causal.lm_head(hidden), causal(ids).logits)


def test_an_encoder_without_a_pooler_loads_and_is_no_language_model(bert):
    base = open_backbone(str(bert))
    assert base.load_encoder()(torch.tensor([[1, 2, 3]])).last_hidden_state.shape == (1, 3, 16)
    with pytest.raises(ModelError) as caught:
        base.load_causal()
    assert str(caught.value) == (
        f"{str(bert)!r} (bert) fills gaps and does not write text; use it in model_type: ecd, as an encoder of type "
        "auto_transformer, or choose another base_model"
    )


def test_missing_weights_are_not_replaced_by_random_ones(copied):
    from safetensors.torch import load_file, save_file

    folder = copied()
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError) as caught:
        open_backbone(str(folder)).load_causal()
    assert str(caught.value) == (
        f"{folder} lacks 1 of the weights that llama needs, such as model.layers.2.mlp.up_proj.weight; "
        "it was trained for another task, or is incomplete"
    )


@pytest.mark.parametrize("length", [0, 100, 100_000])
def test_damaged_weights_are_named(length, copied):
    folder = copied()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"the weights of '.*' in .*copy cannot be loaded: "):
        open_backbone(str(folder)).load_causal()


def test_weights_of_another_shape_are_named(copied):
    folder = copied({"intermediate_size": 176})
    with pytest.raises(ModelError, match=r"the weights of '.*' in .*copy cannot be loaded: "):
        open_backbone(str(folder)).load_causal()


def test_weights_quantized_by_another_tool_are_refused(copied):
    folder = copied({"quantization_config": {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(ModelError) as caught:
        open_backbone(str(folder)).load_causal()
    assert str(caught.value) == ("the weights are quantized by 'gptq'; choose a base that is not, or by bitsandbytes")


LOAD = """
import sys, torch
from declarlm.backbones import open_backbone
def anonymous():
    lines = dict(line.split(":", 1) for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
    return int(lines["Anonymous"].split()[0]) / 1024
open_backbone(sys.argv[2]).load_causal()  # imports what loading needs
base = open_backbone(sys.argv[1])
before = anonymous()
model = base.load_causal()
print(anonymous() - before)
with torch.no_grad():
    for weight in model.parameters():
        weight.add_(1)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc")
def test_weights_are_mapped_and_never_written_back(tmp_path, stories):
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 3, "num_attention_heads": 8}
    LlamaForCausalLM(LlamaConfig(vocab_size=512, **shape)).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((Path(stories) / name).read_bytes())
    file = tmp_path / "model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path), stories], capture_output=True, text=True, check=True, timeout=300
    )
    megabytes = file.stat().st_size / 2**20
    assert megabytes > 30
    assert float(done.stdout) < megabytes / 8
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
