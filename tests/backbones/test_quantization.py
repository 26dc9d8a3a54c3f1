import shutil
from pathlib import Path

import pytest
import torch
from transformers import FalconConfig, FalconForCausalLM, MixtralConfig, MixtralForCausalLM

from declarlm.adapters import adapters
from declarlm.backbones import Quantization, open_backbone
from declarlm.backbones.quantization import quantized_share
from declarlm.core import ConfigError, ModelError

IDS = torch.tensor([[1, 403, 407, 261, 378, 9, 5, 44]])
# The sixteen levels of NF4: Dettmers et al., "QLoRA", 2023, appendix E.
NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941),
        *(0.7229568362236023, 1.0),
    ]
)


def dequantized(layer):
    import bitsandbytes.functional

    if hasattr(layer.weight, "quant_state"):
        return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return layer.weight.data.float() * layer.weight.SCB[:, None] / 127


def by_hand(weight):
    """Round every block of 64 weights to the nearest level times the block's largest magnitude."""
    flat = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    scale = flat.abs().amax(1, keepdim=True)
    levels = NF4[(flat / scale).unsqueeze(-1).sub(NF4).abs().argmin(-1)] * scale
    return levels.flatten()[: weight.numel()].view_as(weight)


def test_four_bits_are_the_papers(stories):
    base = open_backbone(stories)
    full = base.load_causal()
    model = base.load_causal(Quantization(bnb_4bit_use_double_quant=False))
    # Widths 172 and 64: 32 divides one of them only.
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.4.mlp.up_proj", "model.layers.4.mlp.down_proj"):
        expected = by_hand(full.get_submodule(name).weight)
        torch.testing.assert_close(dequantized(model.get_submodule(name)), expected, rtol=0, atol=1e-6)


def test_eight_bits_are_steps_of_a_rows_largest_weight(stories):
    base = open_backbone(stories)
    full, model = base.load_causal(), base.load_causal(Quantization(bits=8))
    for name, layer in full.named_modules():
        if name.endswith("_proj"):
            largest = layer.weight.abs().amax(1, keepdim=True)
            error = (dequantized(model.get_submodule(name)) - layer.weight).abs() / largest
            assert error.max() < 0.5 / 127 + 2**-11  # half a step, and the rounding to 16 bits before it


@pytest.mark.parametrize(
    ("options", "weight_error", "logit_error"),
    [({}, 0.12, 0.12), ({"bnb_4bit_quant_type": "fp4"}, 0.16, 0.15), ({"bits": 8}, 0.01, 0.02)],
)
def test_the_error_on_a_real_model_is_small(options, weight_error, logit_error, stories):
    base = open_backbone(stories)
    full, model = base.load_causal(), base.load_causal(Quantization(**options))
    for name, layer in full.named_modules():
        if name.endswith("_proj"):
            difference = dequantized(model.get_submodule(name)) - layer.weight
            assert difference.norm() / layer.weight.norm() < weight_error
    expected = full(IDS).logits
    assert (model(IDS).logits - expected).norm() / expected.norm() < logit_error


@pytest.mark.parametrize("bits", [4, 8])
def test_only_the_linear_layers_of_the_blocks_are_quantized(bits, stories):
    model = open_backbone(stories).load_causal(Quantization(bits=bits))
    kinds = {type(layer).__name__ for name, layer in model.named_modules() if name.endswith("_proj")}
    assert kinds == {"Linear4bit" if bits == 4 else "Linear8bitLt"}
    assert type(model.lm_head) is torch.nn.Linear
    kept = [weight for name, weight in model.named_parameters() if "_proj" not in name]
    assert {weight.dtype for weight in kept} == {torch.float32}
    assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", ["qlora", "adalora"])
@pytest.mark.parametrize("bits", [4, 8])
def test_gradients_are_the_same_before_and_after_an_evaluation(kind, bits, stories):
    model = open_backbone(stories).load_causal(Quantization(bits=bits))
    adapter = adapters[kind].Config(dropout=0.0).build()
    module = adapter.attach(model, total_steps=10, seed=0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if ".lora_B." in name or ".lora_E." in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))

    def gradients():
        module.zero_grad()
        module.train()
        loss = torch.nn.functional.cross_entropy(module(IDS).logits[0, :-1], IDS[0, 1:])
        loss.backward()
        return {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.requires_grad}

    before = gradients()
    module.eval()
    with torch.no_grad():
        first = module(IDS).logits
        torch.testing.assert_close(module(IDS).logits, first, rtol=0, atol=0)
    after = gradients()
    assert all(float(gradient.abs().max()) > 0 for gradient in before.values())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_stored_model_of_other_bits_is_a_config_error(stories, copied):
    folder = copied({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}})
    with pytest.raises(ConfigError) as caught:
        open_backbone(str(folder)).load_causal(Quantization(bits=4))
    assert str(caught.value) == f"config: quantization.bits: must be 8, as {str(folder)!r} is stored so"


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_model_can_be_stored_and_opened_again(bits, copied, tmp_path):
    base = open_backbone(str(copied()))
    model = base.load_causal(Quantization(bits=bits))
    model.save_pretrained(tmp_path / "stored")
    base.tokenizer.save_pretrained(tmp_path / "stored")
    again = open_backbone(str(tmp_path / "stored")).load_causal()
    torch.testing.assert_close(again(IDS).logits, model(IDS).logits, rtol=0, atol=1e-6)


def with_tokenizer_of(stories, folder, model):
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(stories) / name, folder / name)
    return open_backbone(str(folder))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_base_of_which_nothing_is_quantized_is_refused(bits, stories, tmp_path):
    shape = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    base = with_tokenizer_of(stories, tmp_path / "falcon", FalconForCausalLM(FalconConfig(**shape)))
    with pytest.raises(ModelError) as caught:
        base.load_causal(Quantization(bits=bits))
    assert str(caught.value) == (
        f"{base.name!r} (falcon) has no layer that can be quantized: its linear layers are of a kind of their own; "
        "leave quantization out (and write adapter: lora), or choose another base_model"
    )


def test_the_share_of_quantized_weights_counts_the_experts_of_a_mixture(stories, tmp_path):
    shape = {"vocab_size": 512, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MixtralConfig(num_key_value_heads=2, intermediate_size=64, num_local_experts=4, **shape)
    base = with_tokenizer_of(stories, tmp_path / "mixtral", MixtralForCausalLM(config))
    model = base.load_causal(Quantization())
    attention, experts, router = 4 * 32 * 32, 4 * 3 * 32 * 64, 4 * 32
    assert quantized_share(model) == attention / (attention + experts + router)
    adapted = adapters["qlora"].Config().build().attach(model, total_steps=10, seed=0)
    assert quantized_share(adapted) == attention / (attention + experts + router)
    assert quantized_share(open_backbone(stories).load_causal(Quantization(bits=8))) == 1.0
    assert quantized_share(open_backbone(stories).load_causal()) == 0.0


def test_the_section_takes_ludwigs_keys():
    section = Quantization.load({"bits": 8, "llm_int8_threshold": 4.0})
    assert Quantization.load(section.dump()) == section
    with pytest.raises(ConfigError) as caught:
        Quantization.load({"bits": 3, "llm_int8_has_fp16_weight": True})
    assert str(caught.value).splitlines() == [
        "config: bits: cannot be 3, choose from: 4, 8",
        "config: llm_int8_has_fp16_weight: must be false: the weights of a quantized base are frozen, and adapters "
        "need no 16-bit copy",
    ]
