import pytest
import torch
from adapter_training import scatter

from declarlm.adapters import adapters, merge_adapter
from declarlm.backbones import Quantization, open_backbone
from declarlm.core import ModelError

ADAPTER = adapters["lora"].Config().build()  # all kinds of PEFT are merged alike


def adapted(kind, base, **options):
    module = adapters[kind].Config(r=4, **options).build().attach(base, total_steps=10, seed=0)
    scatter(module)
    return module


@pytest.mark.parametrize("kind", ["lora", "dora", "adalora"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "bert"])
def test_a_merged_base_computes_what_the_adapter_did(family, kind, tiny, batch):
    module = adapted(kind, tiny(family))
    expected = module(**batch)[0]
    merged, difference = merge_adapter(ADAPTER, module, batch)
    assert type(merged) is type(tiny(family))
    actual = (merged(**batch)[0] - expected).abs().max().item()
    assert difference == actual < 1e-5
    assert not any("lora" in name for name in merged.state_dict())


def test_the_sum_is_rounded_once(tiny, batch):
    base = tiny("llama").to(torch.bfloat16)
    weight = base.model.layers[0].mlp.up_proj.weight.detach().float()
    module = adapted("lora", base)
    layer = base.model.layers[0].mlp.up_proj
    delta = 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    merged, difference = merge_adapter(ADAPTER, module, batch, dtype=torch.bfloat16)
    expected = (weight + delta).to(torch.bfloat16)
    torch.testing.assert_close(merged.model.layers[0].mlp.up_proj.weight, expected, rtol=0, atol=0)
    assert 0 < difference < 0.1


def test_an_adapted_head_is_untied_first(stories):
    base = open_backbone(stories).load_causal()
    embeddings = base.get_input_embeddings().weight.detach().clone()
    module = adapted("lora", base, target_modules=["lm_head"])
    merged, difference = merge_adapter(ADAPTER, module, {"input_ids": torch.tensor([[1, 5, 9]])})
    assert difference < 1e-4
    assert torch.equal(merged.get_input_embeddings().weight, embeddings)
    assert not torch.equal(merged.lm_head.weight, embeddings)
    assert not merged.config.tie_word_embeddings


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_is_not_merged_into(bits, stories):
    module = adapted("lora", open_backbone(stories).load_causal(Quantization(bits=bits)))
    with pytest.raises(ModelError) as caught:
        merge_adapter(ADAPTER, module, {"input_ids": torch.tensor([[1, 5, 9]])})
    assert str(caught.value) == (
        "an adapter cannot be merged into a quantized base; load the base without quantization first"
    )
