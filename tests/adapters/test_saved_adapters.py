import json
import warnings

import pytest
import torch
from adapter_training import optimizer_of, scatter, train

from declarlm.adapters import adapters
from declarlm.backbones import open_backbone
from declarlm.core import ModelError, RefusedError


def made(kind, base, **options):
    adapter = adapters[kind].Config(r=4, **options).build()
    return adapter, adapter.attach(base, total_steps=10, seed=0)


@pytest.mark.parametrize("kind", ["lora", "dora", "adalora"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "bert"])
def test_plain_peft_opens_what_was_saved(family, kind, tiny, batch, tmp_path):
    from peft import PeftModel

    adapter, module = made(kind, tiny(family))
    train(adapter, module, batch, optimizer_of(adapter, module), range(1, 11))
    adapter.save(module, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = PeftModel.from_pretrained(tiny(family), str(tmp_path)).eval()
    expected = module(**batch)[0]
    torch.testing.assert_close(opened(**batch)[0], expected, rtol=0, atol=2e-6)
    own = adapter.load(tiny(family), tmp_path)
    torch.testing.assert_close(own(**batch)[0], expected, rtol=0, atol=2e-6)
    assert not own.training
    assert not any(weight.requires_grad for weight in own.parameters())


def test_the_same_adapter_is_saved_as_the_same_bytes(tiny, tmp_path):
    files = []
    for name in ("first", "second"):
        adapter, module = made("lora", tiny("llama"))
        scatter(module)
        adapter.save(module, tmp_path / name)
        files.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert files[0] == files[1]


def test_the_saved_config_names_the_base_and_the_layers(stories, tmp_path):
    adapter, module = made("lora", open_backbone(stories).load_causal(), alpha=8.0)
    adapter.save(module, tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    names = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    expected = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8.0, "target_modules": names}
    assert {key: saved[key] for key in expected} == expected
    assert (saved["base_model_name_or_path"], saved["inference_mode"]) == (stories, True)


def test_training_goes_on_from_saved_weights(tiny, batch, tmp_path):
    adapter, module = made("lora", tiny("llama"))
    scatter(module)
    adapter.save(module, tmp_path)
    again = adapters["lora"].Config(pretrained_adapter_weights=str(tmp_path)).build()
    base = tiny("llama")
    state = torch.get_rng_state()
    started = again.attach(base, total_steps=5, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(started(**batch).logits, module(**batch).logits, rtol=0, atol=0)
    (group,) = again.parameter_groups(started, 1e-3)
    assert len(group["params"]) == 28
    assert {weight.dtype for weight in group["params"]} == {torch.float32}


def test_weights_of_another_kind_are_answered_with_the_kind(tiny, tmp_path):
    adapter, module = made("adalora", tiny("llama"))
    adapter.save(module, tmp_path)
    with pytest.raises(ModelError) as caught:
        made("lora", tiny("llama"))[0].load(tiny("llama"), tmp_path)
    assert str(caught.value) == (f"{tmp_path} holds an adapter of type adalora, not lora; write adapter.type: adalora")


def test_weights_for_another_base_are_refused(tiny, stories, tmp_path):
    adapter, module = made("lora", tiny("gpt2"))
    adapter.save(module, tmp_path)
    with pytest.raises(ModelError, match=r"the adapter in .* does not fit this base: Target modules"):
        adapter.load(tiny("llama"), tmp_path)
    adapter, module = made("lora", tiny("llama"))
    adapter.save(module, tmp_path)
    with pytest.raises(ModelError, match=r"does not fit this base: .* size mismatch for .*q_proj") as caught:
        adapter.load(open_backbone(stories).load_causal(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_weight_is_named(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    adapter, module = made("lora", tiny("llama"))
    adapter.save(module, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    weights = load_file(path)
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
    save_file({key: value for key, value in weights.items() if key != name}, path)
    with pytest.raises(ModelError) as caught:
        adapter.load(tiny("llama"), tmp_path)
    assert str(caught.value) == f"the adapter in {tmp_path} does not fit this base: it lacks {name}"


def test_pickled_weights_and_foreign_code_are_refused(tiny, tmp_path):
    adapter, module = made("lora", tiny("llama"))
    adapter.save(module, tmp_path)
    path = tmp_path / "adapter_config.json"
    saved = json.loads(path.read_text())
    for key in ("auto_mapping", "megatron_config"):
        path.write_text(json.dumps({**saved, key: {"parent_library": "os"}}))
        with pytest.raises(RefusedError) as caught:
            adapter.load(tiny("llama"), tmp_path)
        assert str(caught.value) == f"{path} sets {key!r}, which chooses code to import; remove it from the file"
    path.write_text(json.dumps(saved))
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(RefusedError, match=r"has no adapter_model\.safetensors, and adapter_model\.bin is not"):
        adapter.load(tiny("llama"), tmp_path)


def test_a_folder_without_an_adapter_is_named(tiny, tmp_path):
    with pytest.raises(ModelError) as caught:
        made("lora", tiny("llama"))[0].load(tiny("llama"), tmp_path)
    assert str(caught.value) == f"{tmp_path} is not an adapter folder: it has no adapter_config.json"
