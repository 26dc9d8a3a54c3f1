"""The type of a base's frozen weights, and where its layers lie."""

import pandas as pd
import pytest
import torch
from decoder_families import save_family

from declarlm import DeclarLM
from declarlm.adapters import adapters
from declarlm.backbones import open_backbone
from declarlm.backbones.sharing import num_weights
from declarlm.config import load_config
from declarlm.core import ConfigError
from declarlm.core.ragged import Ragged
from declarlm.models.causal import build_causal, collate
from declarlm.models.llm_weights import placed

pytestmark = [
    pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils"),  # PEFT's calls cause it.
]
ROWS = pd.DataFrame([{"note": f"the {color} cat", "color": color} for color in ("red", "white")] * 4)
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def config(base, **parts):
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": {"type": "lora", "r": 4, "dropout": 0.0},
        "trainer": {"train_steps": 40, "batch_size": 8, "learning_rate": 0.02, "eval_steps": 5},
        "preprocessing": {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}},
        **parts,
    }


@pytest.mark.parametrize("name", TYPES)
def test_frozen_weights_have_the_type_and_trained_ones_are_float32(name, tmp_path):
    settings = config(save_family("llama", tmp_path / "base"), dtype=name)
    settings["preprocessing"] = {"split": {"type": "random", "probabilities": [0.5, 0.5, 0.0]}}
    result = DeclarLM(settings).train(ROWS, output=tmp_path, name="run")
    assert load_config(result.directory / "config.resolved.yaml").trainer.precision == name
    loaded = DeclarLM.load(result.directory)
    for model in (result.model, loaded):
        for part, weight in model._ready().module.named_parameters():
            assert weight.dtype == (torch.float32 if "lora_" in part else TYPES[name]), part
    found = loaded.predict(ROWS)
    pd.testing.assert_frame_equal(found, result.model.predict(ROWS))
    losses = result.history["training_loss"]
    assert losses.iloc[-1] < 0.97 * losses.iloc[0]


def test_the_arithmetic_of_training_may_differ_from_the_type_of_the_weights():
    loaded = load_config(config("starter", dtype="bf16", trainer={"type": "finetune", "precision": "fp32"}))
    assert (loaded.dtype, loaded.trainer.precision) == ("bf16", "fp32")
    assert load_config(config("starter")).trainer.precision == "auto"


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (
            {"dtype": "bf16", "adapter": None},
            "dtype: must be fp32 or auto where all weights train, got bf16; write trainer.precision for the "
            "arithmetic, or an adapter",
        ),
        (
            {"device_map": "auto", "backend": {"type": "ray"}},
            "device_map: is for one process, and each one of the backend holds the base on its own device; leave it "
            "out",
        ),
    ],
)
def test_a_type_or_place_that_cannot_be_is_refused(parts, problem):
    with pytest.raises(ConfigError) as caught:
        load_config(config("starter", trainer={"type": "finetune"}, **parts))
    assert str(caught.value) == f"config: {problem}"


def test_a_map_changes_nothing_where_one_device_holds_the_base(tmp_path):
    base = save_family("llama", tmp_path / "base")
    found = [
        DeclarLM(config(base, **parts)).train(ROWS, output=tmp_path).model.predict(ROWS)
        for parts in ({}, {"device_map": "auto"})
    ]
    pd.testing.assert_frame_equal(*found)


def test_the_size_of_a_base_is_read_from_its_files(tmp_path):
    backbone = open_backbone(save_family("llama", tmp_path / "base"))
    assert num_weights(backbone.folder) == sum(weight.numel() for weight in backbone.load_causal().parameters())


def test_a_module_whose_layers_are_moved_to_where_they_compute_gives_the_same_loss_and_gradients(tmp_path):
    """Accelerate's hooks are those of layers on several devices; here all devices are one."""
    from accelerate import dispatch_model

    backbone = open_backbone(save_family("llama", tmp_path / "base"))
    ids = Ragged.from_rows([[3, 40, 50, 60, 1], [3, 45, 1]])
    roles = Ragged.from_rows([[0, 0, 1, 1, 2], [0, 1, 2]])

    def trained(base):
        adapter = adapters["lora"].Config(r=4, dropout=0.0).build()
        module = build_causal(adapter.attach(base, total_steps=1, seed=0))
        loss = module.losses(collate(module, ids, roles))
        loss.backward()
        return loss, {name: weight.grad for name, weight in module.named_parameters() if weight.requires_grad}

    parts = ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head"]
    spread = dispatch_model(backbone.load_causal(), dict.fromkeys(parts, "cpu"), force_hooks=True)
    loss, gradients = trained(spread)
    expected_loss, expected = trained(backbone.load_causal())
    torch.testing.assert_close(loss, expected_loss)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient)


def test_layers_on_several_devices_stay_there(tmp_path):
    base = open_backbone(save_family("llama", tmp_path / "base")).load_causal()
    assert {weight.device.type for weight in placed(base, "meta").parameters()} == {"meta"}
    spread = open_backbone(str(tmp_path / "base")).load_causal()
    spread.hf_device_map = {"model.embed_tokens": 0, "model.layers": 1}
    assert {weight.device.type for weight in placed(spread, "meta").parameters()} == {"cpu"}
