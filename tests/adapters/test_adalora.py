import pytest
import torch
from adapter_training import loss_of, optimizer_of, scatter, train

from declarlm.adapters import adapters, check_start, delta_norm
from declarlm.core import ConfigError

STEPS = 20


def adalora(**options):
    return adapters["adalora"].Config(**{"r": 4, "dropout": 0.0, **options}).build()


def entries(module):
    """The entries of E of every adapted layer, ``(init_r,)`` each."""
    return [layer.lora_E["default"].detach().flatten() for layer in module.modules() if hasattr(layer, "lora_E")]


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("options", [{}, {"delta_t": 3}, {"tinit": 0.0, "tfinal": 0.0}])
def test_the_mean_rank_ends_at_the_budget(family, options, tiny, batch):
    adapter = adalora(**options)
    module = adapter.attach(tiny(family), total_steps=STEPS, seed=0)
    check_start(module, batch)
    optimizer = optimizer_of(adapter, module)
    assert {len(layer) for layer in entries(module)} == {6}  # 1.5 r
    train(adapter, module, batch, optimizer, range(1, STEPS + 1))
    ranks = [int((layer != 0).sum()) for layer in entries(module)]
    assert sum(ranks) == 4 * len(ranks)
    assert len(set(ranks)) > 1  # and the layers share it unevenly, or LoRA would do
    assert delta_norm(module) > 0


def test_ranks_fall_between_the_first_and_the_last_phase(tiny, batch):
    adapter = adalora(tinit=0.2, tfinal=0.3)
    module = adapter.attach(tiny("llama"), total_steps=STEPS, seed=0)
    optimizer = optimizer_of(adapter, module)
    ranks, settled = [], []
    for step in range(1, STEPS + 1):
        train(adapter, module, batch, optimizer, [step])
        settled.append(adapter.settled(module))
        ranks.append(sum(int((layer != 0).sum()) for layer in entries(module)) / len(entries(module)))
    assert ranks[:4] == [6.0] * 4
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[13:] == [4.0] * 7
    assert 4 < ranks[6] < 6
    assert settled == [False] * 13 + [True] * 7


def test_an_adapted_layer_is_the_formula_with_alpha_over_the_target_rank(tiny):
    base = tiny("llama")
    weight = base.model.layers[0].mlp.up_proj.weight.detach().clone()
    module = adalora(alpha=12.0).attach(base, total_steps=STEPS, seed=0)
    scatter(module)
    layer = module.base_model.model.model.layers[0].mlp.up_proj
    a, e, b = (getattr(layer, f"lora_{kind}")["default"] for kind in "AEB")
    x = torch.randn(3, 16)
    expected = x @ weight.T + 12 / 4 * ((x @ a.T) * e.T) @ b.T
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-6)
    full = [
        3 * adapted.lora_B["default"] @ (adapted.lora_A["default"] * adapted.lora_E["default"])
        for adapted in module.modules()
        if hasattr(adapted, "lora_E")
    ]
    assert delta_norm(module) == pytest.approx(torch.cat([delta.flatten() for delta in full]).norm().item(), rel=1e-4)


def test_the_extra_loss_is_the_mean_distance_from_orthogonality(tiny):
    adapter = adalora(orth_reg_weight=0.3)
    module = adapter.attach(tiny("llama"), total_steps=STEPS, seed=0)
    scatter(module)
    distances = []
    for layer in module.modules():
        if hasattr(layer, "lora_E"):
            a, b = layer.lora_A["default"], layer.lora_B["default"]
            distances += [(a @ a.T - torch.eye(6)).norm(), (b.T @ b - torch.eye(6)).norm()]
    torch.testing.assert_close(adapter.extra_loss(module), 0.3 * torch.stack(distances).mean())


@pytest.mark.parametrize("stop", [2, 9, 14, 17])
def test_a_resumed_run_is_the_same_to_the_bit(stop, tiny, batch):
    def start():
        adapter = adalora()
        module = adapter.attach(tiny("llama"), total_steps=STEPS, seed=0)
        return adapter, module, optimizer_of(adapter, module)

    whole = start()
    train(*whole[:2], batch, whole[2], range(1, STEPS + 1))

    adapter, module, optimizer = start()
    train(adapter, module, batch, optimizer, range(1, stop + 1))
    saved = {name: value.clone() for name, value in module.state_dict().items() if "lora_" in name}
    state, moments = adapter.state(module), optimizer.state_dict()

    again, resumed, fresh = start()
    resumed.load_state_dict(saved, strict=False)
    fresh.load_state_dict(moments)
    again.restore(resumed, state)
    assert again.settled(resumed) == (stop >= 14)
    train(again, resumed, batch, fresh, range(stop + 1, STEPS + 1))

    expected = whole[1].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())
    assert again.state(resumed).keys() == whole[0].state(whole[1]).keys()


@pytest.mark.parametrize("skipped", [13, 14])
def test_a_skipped_step_does_not_leave_the_ranks_unfinished(skipped, tiny, batch):
    adapter = adalora()
    module = adapter.attach(tiny("llama"), total_steps=STEPS, seed=0)
    steps = [step for step in range(1, STEPS + 1) if step != skipped]
    train(adapter, module, batch, optimizer_of(adapter, module), steps)
    assert sum(int((layer != 0).sum()) for layer in entries(module)) == 4 * len(entries(module))


@pytest.mark.parametrize(("steps", "delta_t"), [(5, 1), (12, 5), (STEPS, 1)])
def test_a_saved_adapter_computes_what_it_did(steps, delta_t, tiny, batch, tmp_path):
    adapter = adalora(delta_t=delta_t)
    module = adapter.attach(tiny("llama"), total_steps=STEPS, seed=0)
    train(adapter, module, batch, optimizer_of(adapter, module), range(1, steps + 1))
    adapter.save(module, tmp_path)
    loaded = adalora().load(tiny("llama"), tmp_path)
    torch.testing.assert_close(loaded(**batch).logits, module(**batch).logits, rtol=0, atol=1e-6)
    if steps == STEPS:
        assert sum(len(layer) for layer in entries(loaded)) == 4 * len(entries(loaded))
    # Saving leaves the run as it was.
    train(adapter, module, batch, optimizer_of(adapter, module), range(steps + 1, STEPS + 1))


def test_a_trained_adapter_goes_on_with_its_ranks(tiny, batch, tmp_path):
    adapter = adalora()
    module = adapter.attach(tiny("llama"), total_steps=STEPS, seed=0)
    train(adapter, module, batch, optimizer_of(adapter, module), range(1, STEPS + 1))
    adapter.save(module, tmp_path)
    again = adalora(pretrained_adapter_weights=str(tmp_path))
    module = again.attach(tiny("llama"), total_steps=5, seed=0)
    before = [len(layer) for layer in entries(module)]
    loss = loss_of(module, batch).item()
    train(again, module, batch, optimizer_of(again, module), range(1, 6))
    assert [len(layer) for layer in entries(module)] == before
    assert loss_of(module, batch).item() < loss
    assert again.state(module) == {}


def test_too_short_a_run_is_a_config_error(tiny):
    with pytest.raises(ConfigError) as caught:
        adalora().attach(tiny("llama"), total_steps=1, seed=0)
    assert str(caught.value) == (
        "config: adapter.type: adalora needs 2 optimizer steps or more between its first and its last phase, and the "
        "run has 1 in all; train longer, lower tinit and tfinal, or write lora"
    )
    adalora(tinit=0.0, tfinal=0.0).attach(tiny("llama"), total_steps=2, seed=0)


def test_the_shortest_run_ends_at_the_budget(tiny, batch):
    adapter = adalora()
    module = adapter.attach(tiny("llama"), total_steps=2, seed=0)
    train(adapter, module, batch, optimizer_of(adapter, module), (1, 2))
    assert sum(int((layer != 0).sum()) for layer in entries(module)) == 4 * len(entries(module))


def test_ranks_and_phases_must_fit():
    with pytest.raises(ConfigError) as caught:
        adapters["adalora"].Config.load({"r": 8, "init_r": 8, "tinit": 0.5, "tfinal": 0.6})
    assert str(caught.value).splitlines() == [
        "config: init_r: must be greater than r (8), got 8",
        "config: tfinal: must be less than 1 - tinit (0.5), got 0.6",
    ]
