import pytest
import torch
from adapter_training import scatter

from declarlm.adapters import adapters
from declarlm.adapters.beside import load_beside, twin
from declarlm.backbones import Quantization, open_backbone
from declarlm.core import ModelError


def saved(kind, base, folder, **options):
    adapter = adapters[kind].Config(r=4, **options).build()
    module = adapter.attach(base, total_steps=10, seed=0)
    scatter(module, 0.2)
    adapter.save(module, folder)
    return adapter


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "bert"])
def test_adapters_of_several_kinds_stand_on_the_same_weights(family, tiny, batch, tmp_path):
    kinds = {"lora": {}, "adalora": {}, "dora": {"bias_type": "all"}}
    made = {kind: saved(kind, tiny(family), tmp_path / kind, **options) for kind, options in kinds.items()}
    base = tiny(family)
    expected = base(**batch)[0]
    alone = {kind: adapter.load(tiny(family), tmp_path / kind)(**batch)[0] for kind, adapter in made.items()}
    modules = {kind: load_beside(base, adapter, tmp_path / kind) for kind, adapter in made.items()}
    for kind, module in modules.items():
        assert torch.equal(module(**batch)[0], alone[kind])
        assert not torch.equal(alone[kind], expected)
    assert torch.equal(base(**batch)[0], expected)
    large = {weight.data_ptr() for weight in base.parameters() if weight.ndim > 1}
    for module in modules.values():
        assert large <= {weight.data_ptr() for weight in module.parameters()}


@pytest.mark.parametrize("bits", [4, 8])
def test_adapters_share_quantized_weights(bits, stories, tmp_path):
    inputs = {"input_ids": torch.tensor([[1, 5, 9, 300, 4]])}
    quantized = Quantization(bits=bits)
    made = {
        name: saved("lora", open_backbone(stories).load_causal(), tmp_path / name, target_modules=[name])
        for name in ("q_proj", "up_proj")
    }
    base = open_backbone(stories).load_causal(quantized)
    expected = base(**inputs).logits
    modules = [load_beside(base, adapter, tmp_path / name) for name, adapter in made.items()]
    for (name, adapter), module in zip(made.items(), modules, strict=True):
        alone = adapter.load(open_backbone(stories).load_causal(quantized), tmp_path / name)
        assert torch.equal(module(**inputs).logits, alone(**inputs).logits)
        assert not torch.equal(module(**inputs).logits, expected)
    assert torch.equal(base(**inputs).logits, expected)


def test_an_adapter_that_would_change_the_shared_weights_is_refused(tiny, tmp_path):
    adapter = saved("lora", tiny("llama"), tmp_path)
    load = adapter.load

    def spoil(module, folder, **options):
        with torch.no_grad():
            module.lm_head.weight.mul_(2)
        return load(module, folder, **options)

    adapter.load = spoil
    with pytest.raises(ModelError) as caught:
        load_beside(tiny("llama"), adapter, tmp_path)
    assert str(caught.value) == (
        f"the adapter in {tmp_path} changes lm_head.weight of its base, so no other adapter can stand on the same "
        "weights; load it alone"
    )


def test_a_twin_has_copies_of_what_is_its_own(tiny):
    base = tiny("llama")
    other = twin(base, own={"lm_head.weight"})
    assert other.lm_head.weight is not base.lm_head.weight
    assert torch.equal(other.lm_head.weight, base.lm_head.weight)
    assert other.model.norm.weight is base.model.norm.weight
    assert other.model.layers[0] is not base.model.layers[0]
