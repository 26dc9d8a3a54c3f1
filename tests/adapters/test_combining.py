import pytest
import torch
from adapter_training import scatter
from safetensors.torch import load_file

from declarlm.adapters import adapters
from declarlm.adapters.combining import combine_adapters
from declarlm.adapters.named import Merge, open_adapter
from declarlm.core import ModelError


def saved(base, folder, kind="lora", seed=0, **options):
    adapter = adapters[kind].Config(**{"r": 4, **options}).build()
    module = adapter.attach(base, total_steps=10, seed=seed)
    scatter(module, 0.1 + 0.05 * seed)
    adapter.save(module, folder)
    return folder


def updates(base, folder):
    """What an adapter adds to each adapted layer, by name."""
    module = open_adapter(folder).load(base, folder)
    return {
        name: layer.get_delta_weight("default").detach()
        for name, layer in module.named_modules()
        if "default" in getattr(layer, "lora_A", {})
    }


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("kind", ["cat", "svd"])
def test_updates_are_added_with_their_weights(family, kind, tiny, tmp_path):
    folders = [saved(tiny(family), tmp_path / "a"), saved(tiny(family), tmp_path / "b", seed=1, r=3, use_rslora=True)]
    rank = {"svd_rank": 7} if kind == "svd" else {}
    merge = Merge(weights=[0.7, -0.4], combination_type=kind, **rank)
    combine_adapters(tiny(family), folders, merge, tmp_path / "new")
    first, second = (updates(tiny(family), folder) for folder in folders)
    found = updates(tiny(family), tmp_path / "new")
    assert found.keys() == first.keys()
    for name, update in found.items():
        torch.testing.assert_close(update, 0.7 * first[name] - 0.4 * second[name], rtol=1e-4, atol=1e-5)


def ties(tensors, weights, density):
    """Yadav et al. 2023, algorithm 1: trim, elect sign, disjoint mean, here as PEFT does with weights."""
    trimmed = []
    for tensor in tensors:
        kept = int(density * tensor.numel())
        threshold = tensor.abs().flatten().sort(descending=True).values[kept - 1]
        trimmed.append(torch.where(tensor.abs() >= threshold, tensor, 0.0))
    sign = torch.where(sum(trimmed) >= 0, 1.0, -1.0)
    agreeing = [torch.where(tensor.sign() == sign, tensor, 0.0) for tensor in trimmed]
    total = sum(weight * tensor for weight, tensor in zip(weights, agreeing, strict=True))
    return total / sum((tensor != 0).float() for tensor in agreeing).clamp(min=1)


def test_ties_trims_elects_and_averages(tiny, tmp_path):
    folders = [
        saved(tiny("llama"), tmp_path / name, seed=seed, target_modules=["q_proj"]) for seed, name in enumerate("ab")
    ]
    merge = Merge(weights=[0.6, 0.5], combination_type="ties_svd", density=0.4, svd_rank=16)
    combine_adapters(tiny("llama"), folders, merge, tmp_path / "new")
    first, second = (updates(tiny("llama"), folder) for folder in folders)
    for name, update in updates(tiny("llama"), tmp_path / "new").items():
        expected = ties([first[name], second[name]], [0.6, 0.5], 0.4)
        torch.testing.assert_close(update, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd"])
def test_the_seed_decides_what_dare_drops(kind, tiny, tmp_path):
    folders = [saved(tiny("llama"), tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    state = torch.get_rng_state()
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        merge = Merge(combination_type=kind, seed=seed)
        combine_adapters(tiny("llama"), folders, merge, tmp_path / name)
    assert torch.equal(torch.get_rng_state(), state)
    one, again, other = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "again", "other")
    )
    assert one == again != other


def test_linear_adds_the_factors(tiny, tmp_path):
    folders = [saved(tiny("llama"), tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    combine_adapters(tiny("llama"), folders, Merge(weights=[0.9, 0.3], combination_type="linear"), tmp_path / "new")
    files = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    for name, update in updates(tiny("llama"), tmp_path / "new").items():
        factors = [
            sum(
                (2 * weight) ** 0.5 * file[f"{name}.lora_{side}.weight"]
                for weight, file in zip((0.9, 0.3), files, strict=True)
            )
            for side in "BA"
        ]  # the scale of a saved adapter is 2
        torch.testing.assert_close(update, factors[0] @ factors[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kinds", "merge", "message"),
    [
        (["lora", "adalora"], {}, "adapters of different kinds cannot be merged: adalora, lora"),
        (["adalora", "adalora"], {}, "adapters of type adalora cannot be merged with one another; those of lora can"),
    ],
)
def test_what_cannot_be_added_up_is_refused(kinds, merge, message, tiny, tmp_path):
    folders = [saved(tiny("llama"), tmp_path / str(place), kind) for place, kind in enumerate(kinds)]
    with pytest.raises(ModelError) as caught:
        combine_adapters(tiny("llama"), folders, Merge(**merge), tmp_path / "new")
    assert str(caught.value) == message
    assert not (tmp_path / "new").exists()


def test_adapters_of_two_ranks_are_refused_where_factors_are_added(tiny, tmp_path):
    folders = [saved(tiny("llama"), tmp_path / str(rank), r=rank) for rank in (2, 4)]
    with pytest.raises(ModelError, match="cannot be merged by ties: All adapters must have the same r"):
        combine_adapters(tiny("llama"), folders, Merge(combination_type="ties"), tmp_path / "new")


def test_lengths_and_biases_are_refused(tiny, tmp_path):
    plain = saved(tiny("llama"), tmp_path / "plain")
    dora = saved(tiny("llama"), tmp_path / "dora", "dora")
    biased = saved(tiny("gpt2"), tmp_path / "biased", bias_type="all")
    with pytest.raises(ModelError, match="dora is of type dora: its lengths cannot be added up"):
        combine_adapters(tiny("llama"), [plain, dora], Merge(), tmp_path / "new")
    with pytest.raises(ModelError, match="biased also trained biases of the base"):
        combine_adapters(tiny("gpt2"), [biased, biased], Merge(), tmp_path / "new")
