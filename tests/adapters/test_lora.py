import math

import pytest
import torch
from adapter_training import loss_of, optimizer_of, scatter, train

from declarlm.adapters import adapters, check_start, delta_norm
from declarlm.backbones import Quantization, open_backbone
from declarlm.core import ConfigError, RunError

FAMILIES = ["llama", "gpt2", "bloom", "bert"]


def lora(**options):
    return adapters["lora"].Config(**options).build()


def weights(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({"r": 4}, 2.0),
        ({"r": 4, "alpha": 2.0}, 2 / 4),
        ({"r": 4, "alpha": 2.0, "use_rslora": True}, 2 / math.sqrt(4)),
    ],
)
@pytest.mark.parametrize("name", ["h.1.mlp.c_fc", "layers.1.mlp.down_proj"])
def test_an_adapted_layer_is_the_papers_formula(name, options, scale, tiny):
    base = tiny("gpt2" if name.startswith("h.") else "llama")
    layer = (base.transformer if name.startswith("h.") else base.model).get_submodule(name)
    # GPT-2 stores its weights as (in, out).
    weight = layer.weight.detach().clone().T if name.startswith("h.") else layer.weight.detach().clone()
    bias = 0 if layer.bias is None else layer.bias
    module = lora(**options).attach(base, total_steps=1, seed=0)
    scatter(module)
    adapted = (base.transformer if name.startswith("h.") else base.model).get_submodule(name)
    a, b = adapted.lora_A["default"].weight, adapted.lora_B["default"].weight
    x = torch.randn(3, weight.shape[1])
    expected = x @ weight.T + scale * (x @ a.T @ b.T) + bias
    torch.testing.assert_close(adapted(x), expected, rtol=1e-5, atol=1e-6)
    assert a.shape == (4, weight.shape[1])
    assert b.shape == (weight.shape[0], 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_adapter_changes_nothing_and_a_trained_one_does(family, tiny, batch):
    adapter = lora(r=4)
    module = adapter.attach(tiny(family), total_steps=3, seed=0)
    check_start(module, batch)
    with pytest.raises(RunError, match="training left the adapter without effect: the norm of what it adds to the ba"):
        adapter.check_learned(module)
    train(adapter, module, batch, optimizer_of(adapter, module), range(1, 4))
    adapter.check_learned(module)
    with pytest.raises(RunError, match=r"the new adapter moves the base's outputs by .* before any training"):
        check_start(module, batch)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_adapter_trains_in_float32_and_without_decay(family, tiny, batch):
    adapter = lora(r=4)
    base = tiny(family).to(torch.bfloat16)
    module = adapter.attach(base, total_steps=1, seed=0)
    (group,) = adapter.parameter_groups(module, 3e-4)
    names = [name for name, weight in module.named_parameters() if weight.requires_grad]
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert {weight.dtype for weight in group["params"]} == {torch.float32}
    assert (len(group["params"]), group["lr"], group["weight_decay"]) == (len(names), 3e-4, 0.0)
    assert not module.training  # as the base was


def test_the_seed_alone_makes_the_first_weights(tiny):
    made = []
    for before, seed in ((1, 0), (2, 0), (3, 5)):
        torch.manual_seed(before)
        base = tiny("llama")
        state = torch.get_rng_state()
        made.append(weights(lora().attach(base, total_steps=1, seed=seed)))
        assert torch.equal(torch.get_rng_state(), state)
    first, second, third = made
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_gaussian_starts_have_the_deviation_of_the_rank(tiny):
    module = lora(r=16, init_lora_weights="gaussian").attach(tiny("llama"), total_steps=1, seed=0)
    values = torch.cat([weight.flatten() for name, weight in weights(module).items() if ".lora_A." in name])
    assert float(values.std()) == pytest.approx(1 / 16, rel=0.05)


def test_single_layers_can_have_their_own_rank_and_alpha(tiny):
    options = {"r": 4, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {r"layers\.0\.mlp\.up_proj": 2.0}}
    module = lora(**options).attach(tiny("llama"), total_steps=1, seed=0)
    layers = module.base_model.model.model.layers
    assert [layer.self_attn.q_proj.r["default"] for layer in layers] == [8, 8]
    assert [layer.self_attn.k_proj.r["default"] for layer in layers] == [4, 4]
    assert [layer.mlp.up_proj.scaling["default"] for layer in layers] == [2 / 4, 8 / 4]


def test_a_pattern_without_a_layer_is_an_error(tiny):
    with pytest.raises(ConfigError) as caught:
        lora(rank_pattern={"q_porj": 8}).attach(tiny("llama"), total_steps=1, seed=0)
    assert str(caught.value) == (
        "config: adapter.rank_pattern.q_porj: matches none of the adapted layers: 'q_porj' (did you mean 'q_proj'?), "
        "choose from: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )


def test_b_can_learn_faster_than_a(tiny):
    adapter = lora(loraplus_lr_ratio=16.0)
    module = adapter.attach(tiny("llama"), total_steps=1, seed=0)
    slow, fast = adapter.parameter_groups(module, 1e-4)
    names = {id(weight): name for name, weight in module.named_parameters()}
    assert all(".lora_A." in names[id(weight)] for weight in slow["params"])
    assert all(".lora_B." in names[id(weight)] for weight in fast["params"])
    assert (slow["lr"], fast["lr"]) == (1e-4, 16e-4)
    assert slow["weight_decay"] == fast["weight_decay"] == 0.0


@pytest.mark.parametrize(("bias_type", "num_biases"), [("none", 0), ("lora_only", 12), ("all", 18)])
def test_biases_train_on_request(bias_type, num_biases, tiny):
    # BERT's two blocks have 6 linear layers each; the rest are in 5 normalisations and the pooler.
    module = lora(bias_type=bias_type).attach(tiny("bert"), total_steps=1, seed=0)
    biases = [name for name, weight in module.named_parameters() if weight.requires_grad and "bias" in name]
    assert len(biases) == num_biases


def test_dora_is_lora_with_a_trained_length(tiny, batch):
    adapter = adapters["dora"].Config(r=4).build()
    module = adapter.attach(tiny("llama"), total_steps=3, seed=0)
    check_start(module, batch, tolerance=1e-5)
    assert sum(".lora_magnitude_vector." in name for name in weights(module)) == 14
    train(adapter, module, batch, optimizer_of(adapter, module), range(1, 4))
    adapter.check_learned(module)


def test_dora_does_not_go_with_eight_bits(stories):
    base = open_backbone(stories).load_causal(Quantization(bits=8))
    with pytest.raises(ConfigError) as caught:
        adapters["dora"].Config().build().attach(base, total_steps=1, seed=0)
    assert str(caught.value) == "config: quantization.bits: must be 4 or absent for dora, got 8"


def test_the_norm_of_the_update_is_that_of_the_full_matrices(tiny):
    module = lora(r=4, alpha=2.0).attach(tiny("llama"), total_steps=1, seed=0)
    scatter(module)
    layers = [layer for layer in module.modules() if hasattr(layer, "lora_A")]
    full = [0.5 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight for layer in layers]
    expected = torch.cat([delta.flatten() for delta in full]).norm()
    assert delta_norm(module) == pytest.approx(expected.item(), rel=1e-5)


def test_a_quantized_base_learns_the_same_task(stories):
    base = open_backbone(stories)
    batch = {"input_ids": torch.tensor([[1, *range(100, 130)]])}
    adapter = adapters["qlora"].Config(r=8, dropout=0.0).build()
    module = adapter.attach(base.load_causal(Quantization()), total_steps=15, seed=0)
    check_start(module, batch)
    optimizer = optimizer_of(adapter, module, 3e-3)
    before = loss_of(module, batch).item()
    train(adapter, module, batch, optimizer, range(1, 9))
    module(**batch)  # an evaluation in between, which must not stop the learning
    train(adapter, module, batch, optimizer, range(9, 16))
    assert loss_of(module, batch).item() < before / 2


def test_every_adapter_survives_a_round_trip_of_its_section():
    for name in adapters:
        known = adapters[name].Config.schema().fields
        given = {key: value for key, value in {"r": 4, "target_modules": ["q_proj"]}.items() if key in known}
        section = adapters[name].Config.load(given)
        assert adapters[name].Config.load(section.dump()) == section
        assert section.build().learning_rate >= 1e-4
