"""How LoRA's factors may start: what holds before and after training, and what is refused."""

import pytest
import torch
from adapter_training import own_token_loss as loss
from shapes import SHAPES, base, batch

from declarlm import ConfigError, DeclarLM
from declarlm.adapters import adapters
from declarlm.adapters.checks import outputs, still
from declarlm.adapters.starts import lora_layers
from declarlm.backbones import Quantization, open_backbone

STARTS = ["gaussian", "orthogonal", "pissa", "olora"]


def lora(start, **options):
    return adapters["lora"].Config(r=4, dropout=0.0, init_lora_weights=start, **options).build()


def learned(adapter, module, inputs, steps=10):
    optimizer = torch.optim.AdamW(adapter.parameter_groups(module, 1e-2))
    for _ in range(steps):
        loss(module, inputs).backward()
        optimizer.step()
        optimizer.zero_grad()
    return module.eval()


@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"use_dora": True}], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("start", STARTS)
def test_every_start_is_the_base_and_is_saved_for_the_untouched_base(start, shape, options, tmp_path):
    adapter, inputs, plain = lora(start, **options), batch(shape), base(shape)
    with still(plain):
        expected = outputs(plain, inputs)
    if (start, shape) == ("olora", "gpt2"):
        with pytest.raises(
            ConfigError, match=r"'olora' cannot take from layers of GPT-2's kind \(Conv1D\); write pissa"
        ):
            adapter.attach(base(shape), total_steps=10, seed=0)
        return
    module = adapter.attach(base(shape), total_steps=10, seed=0)
    with still(module):
        torch.testing.assert_close(outputs(module, inputs), expected, rtol=0, atol=5e-5)
    assert adapter.effect(module) == pytest.approx(0, abs=1e-4)
    learned(adapter, module, inputs)
    assert adapter.effect(module) > 1e-2
    with still(module):
        after = outputs(module, inputs)
        assert (after - expected).abs().max() > 1e-2
        with adapter.off(module):
            torch.testing.assert_close(outputs(module, inputs), expected, rtol=0, atol=2e-5)
    adapter.save(module, tmp_path)
    with still(module):
        torch.testing.assert_close(outputs(module, inputs), after, rtol=0, atol=0)  # saving changes nothing
    loaded = adapter.load(base(shape), tmp_path).eval()
    with still(loaded):
        torch.testing.assert_close(outputs(loaded, inputs), after, rtol=0, atol=1e-4)


def test_patterns_of_rank_and_scale_survive_the_difference(tmp_path):
    adapter = lora("pissa", rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 3.0})
    inputs = batch("llama")
    module = learned(adapter, adapter.attach(base("llama"), total_steps=10, seed=0), inputs)
    adapter.save(module, tmp_path)
    loaded = adapter.load(base("llama"), tmp_path).eval()
    with still(module), still(loaded):
        torch.testing.assert_close(outputs(loaded, inputs), outputs(module, inputs), rtol=0, atol=1e-4)


def test_the_principal_part_of_the_weights_trains_under_pissa():
    plain = base("llama")
    weight = plain.model.layers[0].self_attn.q_proj.weight.detach().clone()
    module = lora("pissa").attach(plain, total_steps=1, seed=0)
    layer = dict(lora_layers(module))["base_model.model.model.layers.0.self_attn.q_proj"]
    update = layer.get_delta_weight("default")
    left, sizes, right = torch.linalg.svd(weight)
    principal = left[:, :4] @ torch.diag(sizes[:4]) @ right[:4]
    torch.testing.assert_close(update, principal, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.base_layer.weight, weight - principal, rtol=0, atol=1e-5)


def test_loftq_brings_four_bits_nearer_to_the_unquantized_weights(stories):
    backbone = open_backbone(stories)
    inputs = {"input_ids": torch.tensor([[1, *range(100, 130)]])}
    whole = backbone.load_causal()
    errors = {}
    for start in ("default", "loftq"):
        module = lora(start).attach(backbone.load_causal(Quantization()), total_steps=1, seed=0)
        with still(module), still(whole):
            errors[start] = (outputs(module, inputs) - outputs(whole, inputs)).square().mean().item()
    assert errors["loftq"] < 0.95 * errors["default"]


@pytest.mark.parametrize(
    ("start", "bits", "told"),
    [
        ("pissa", 4, "changes the base's weights, which few bits cannot hold; write loftq"),
        ("loftq", None, "'loftq' makes up for a base of 4 bits; write quantization: {bits: 4}"),
    ],
)
def test_a_start_that_does_not_fit_the_bits_is_refused(stories, start, bits, told):
    module = open_backbone(stories).load_causal(None if bits is None else Quantization(bits=bits))
    with pytest.raises(ConfigError) as error:
        lora(start).attach(module, total_steps=1, seed=0)
    assert told in str(error.value)


def test_a_rank_above_that_of_the_weights_is_refused():
    adapter = adapters["lora"].Config(r=30, init_lora_weights="pissa").build()
    with pytest.raises(
        ConfigError, match=r"adapter\.r: must be at most 16 for init_lora_weights: pissa, the rank of model"
    ):
        adapter.attach(base("llama"), total_steps=1, seed=0)


def test_corda_and_an_odd_rank_are_refused():
    with pytest.raises(ConfigError, match="'corda' needs a calibration run of its own; write eva"):
        adapters["lora"].Config.load({"init_lora_weights": "corda"})
    with pytest.raises(ConfigError, match="must be even for init_lora_weights: orthogonal, got 3"):
        adapters["lora"].Config.load({"init_lora_weights": "orthogonal", "r": 3})


def test_eva_looks_along_the_inputs_of_the_training_rows(stories, tmp_path):
    rows = {"note": [f"the {word} sat" for word in ("cat", "dog", "bird")] * 6, "word": ["cat", "dog", "bird"] * 6}
    config = {
        "base_model": stories,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "word", "type": "text"}],
        "adapter": {"type": "lora", "r": 4, "dropout": 0, "init_lora_weights": "eva"},
        "trainer": {"train_steps": 1, "batch_size": 6, "learning_rate": 1e-9},
    }
    result = DeclarLM(config).train(rows, output=tmp_path)
    model = result.model._ready()
    found = 0
    for _, layer in lora_layers(model.module.backbone):
        directions = layer.lora_A["default"].weight
        torch.testing.assert_close(directions @ directions.T, torch.eye(4), rtol=0, atol=1e-4)
        found += 1
    assert found == 7 * 5
    loaded = DeclarLM.load(result.directory)
    assert loaded.predict(rows).equals(result.model.predict(rows))
