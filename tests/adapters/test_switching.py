import pytest
import torch
from adapter_training import loss_of, scatter

from declarlm.adapters import adapters
from declarlm.adapters.base import BoundAdapter


def made(kind, base, **options):
    adapter = adapters[kind].Config(r=4, dropout=0.0, **options).build()
    return adapter, adapter.attach(base, total_steps=10, seed=0)


@pytest.mark.parametrize("bias", ["none", "all"])
@pytest.mark.parametrize("kind", ["lora", "dora", "adalora"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "bert"])
def test_without_its_adapter_a_model_is_its_base(family, kind, bias, tiny, batch, tmp_path):
    expected = tiny(family)(**batch)[0]
    adapter, module = made(kind, tiny(family), bias_type=bias)
    scatter(module)
    adapted = module(**batch)[0]
    assert (adapted - expected).abs().max() > 1e-4
    adapter.save(module, tmp_path)
    loaded = adapter.load(tiny(family), tmp_path)
    for found in (module, loaded):
        with adapter.off(found):
            assert torch.equal(found(**batch)[0], expected)
        torch.testing.assert_close(found(**batch)[0], adapted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("bias", ["none", "all"])
def test_training_goes_on_behind_the_block_as_before_it(bias, tiny, batch):
    adapter, module = made("lora", tiny("gpt2"), bias_type=bias)
    scatter(module)
    bound = BoundAdapter(adapter, module)
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    loss_of(module, batch).backward()
    expected = {name: weight.grad.clone() for name, weight in module.named_parameters() if name in trained}
    module.zero_grad()
    loss = loss_of(module, batch)
    with torch.no_grad(), bound.off():
        reference = loss_of(module, batch)
    loss.backward()
    assert reference.item() == pytest.approx(loss_of(tiny("gpt2"), batch).item(), abs=1e-6)
    assert {name for name, weight in module.named_parameters() if weight.requires_grad} == trained
    for name, weight in module.named_parameters():
        if name in trained:
            torch.testing.assert_close(weight.grad, expected[name], rtol=0, atol=0)


def test_a_frozen_adapter_stays_frozen(tiny, batch, tmp_path):
    adapter, module = made("lora", tiny("llama"))
    adapter.save(module, tmp_path)
    loaded = adapter.load(tiny("llama"), tmp_path)
    with torch.inference_mode(), adapter.off(loaded):
        loaded(**batch)
    assert not any(weight.requires_grad for weight in loaded.parameters())
