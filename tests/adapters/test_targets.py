import pytest

from declarlm.adapters import adapters
from declarlm.adapters.targets import find_targets
from declarlm.core import ConfigError

LAST_NAMES = "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj"


@pytest.mark.parametrize(
    ("family", "last_names"),
    [
        ("llama", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        ("gpt2", {"c_attn", "c_proj", "c_fc"}),
        ("bloom", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
        ("bert", {"query", "key", "value", "dense"}),
    ],
)
@pytest.mark.parametrize("wanted", ["auto", "all-linear", None])
def test_every_linear_layer_but_the_head_is_adapted(wanted, family, last_names, tiny):
    base = tiny(family)
    targets = find_targets(base, wanted)
    assert {name.rpartition(".")[2] for name in targets.names} == last_names
    assert not {"lm_head", "pooler.dense"} & set(targets.names)
    assert targets.fan_in_fan_out == (family == "gpt2")
    adapter = adapters["lora"].Config(target_modules=wanted).build()
    module = adapter.attach(base, total_steps=1, seed=0)
    adapted = [name for name, layer in module.base_model.model.named_modules() if hasattr(layer, "lora_A")]
    assert adapted == targets.names


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (["q_proj"], ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]),
        (["layers.1.self_attn.q_proj"], ["model.layers.1.self_attn.q_proj"]),
        (r".*\.1\.mlp\.(up|down)_proj", ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"]),
        (["lm_head"], ["lm_head"]),
    ],
)
def test_layers_are_chosen_by_name_or_pattern(wanted, names, tiny):
    base = tiny("llama")
    assert find_targets(base, wanted).names == names
    module = adapters["lora"].Config(target_modules=wanted).build().attach(base, total_steps=1, seed=0)
    adapted = [name for name, layer in module.base_model.model.named_modules() if hasattr(layer, "lora_A")]
    assert adapted == names


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ["q_proj", "v_porj"],
            "adapter.target_modules[1]: no layer is named 'v_porj' (did you mean 'v_proj'?), "
            f"choose from: {LAST_NAMES}",
        ),
        (["norm"], f"adapter.target_modules[0]: 'norm' is not a linear layer, choose from: {LAST_NAMES}"),
        (
            "q_proj",
            "adapter.target_modules: the pattern 'q_proj' matches no linear layer's full name, such as "
            "model.layers.0.self_attn.q_proj; write [q_proj] to choose by last name",
        ),
        (
            ".*attention.*",
            "adapter.target_modules: the pattern '.*attention.*' matches no linear layer's full name, such as "
            f"model.layers.0.self_attn.q_proj; last names: {LAST_NAMES}",
        ),
    ],
)
def test_targets_that_match_nothing_are_answered_with_the_names_there_are(wanted, message, tiny):
    with pytest.raises(ConfigError) as caught:
        find_targets(tiny("llama"), wanted)
    assert str(caught.value) == f"config: {message}"


def test_a_broken_pattern_is_found_before_any_base_is_loaded():
    with pytest.raises(ConfigError) as caught:
        adapters["lora"].Config.load({"target_modules": "(q_proj"})
    assert str(caught.value) == (
        "config: target_modules: is not a regular expression: missing ), unterminated subpattern at position 0; "
        "write a list of names"
    )


def test_a_base_without_linear_layers_is_an_error():
    from torch import nn

    with pytest.raises(ConfigError, match=r"adapter.target_modules: the base has no linear layer to adapt"):
        find_targets(nn.Sequential(nn.ReLU()), "auto")
