"""What a language model does with its weights: the type they train in, and how they are saved."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_bases import save_tiny_llama

from declarlm.adapters import adapters
from declarlm.backbones import open_backbone
from declarlm.config import load_config
from declarlm.models.llm_weights import load_base
from declarlm.models.prompted import LlmSections
from declarlm.prompts import Prompt

TABLE = pd.DataFrame({"text": ["a good film", "a bad film"] * 6, "label": ["yes", "no"] * 6})


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Llama with random weights."""
    return save_tiny_llama(tmp_path_factory.mktemp("base") / "llama")


def made(base: str, tmp_path: Path, **sections: Any) -> Any:
    """Return the model of a config, fitted."""
    features = {
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "label", "type": "category"}],
    }
    config = load_config({"base_model": base, **features, **sections})
    model = config.build().fit(TABLE, seed=0, folder=tmp_path / "base")
    model.learn_lengths(model.encode(TABLE))
    return model


@pytest.mark.parametrize(
    ("settings", "trains", "dtype"),
    [
        (None, True, torch.float32),
        ({"bias_type": "all"}, True, torch.float32),
        ({}, True, torch.bfloat16),
        (None, False, torch.bfloat16),
    ],
)
def test_a_base_whose_weights_train_is_loaded_in_float32(settings: Any, trains: bool, dtype: torch.dtype, base: str):
    # Tensors of the device "meta" have a type and no memory; as on a GPU, a frozen base is bfloat16 there.
    adapter = None if settings is None else adapters["lora"].Config(**settings).build()
    sections = LlmSections(inputs=[], outputs=[], prompt=Prompt())
    network = load_base(open_backbone(base), sections, adapter, trains=trains, device="meta")
    assert {weight.dtype for weight in network.parameters()} == {dtype}


def test_a_base_that_stays_large_in_spite_of_quantization_is_remarked_on(base: str, tmp_path: Path):
    from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM

    shape = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 2, "intermediate_size": 64, "num_local_experts": 4}
    MixtralForCausalLM(MixtralConfig(**shape)).save_pretrained(tmp_path / "mixtral")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "mixtral")

    def remarks(name: str) -> list[str]:
        model = made(name, tmp_path, adapter="qlora").build(total_steps=5, seed=0, device="cpu")
        return model.remarks()

    assert remarks(base) == []
    assert remarks(str(tmp_path / "mixtral")) == [
        f"quantization reaches 14% of the weights of {tmp_path / 'mixtral'}; the rest, such as the experts of a "
        "mixture, takes as much memory as without"
    ]
