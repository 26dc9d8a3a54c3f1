"""What a language model does with its weights: the type they train in, and how they are saved."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from small_bases import save_tiny_llama

from declarlm.config import load_config

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
    ("adapter", "trains", "dtype"),
    [
        (None, True, torch.float32),
        ({"type": "lora", "bias_type": "all"}, True, torch.float32),
        ({"type": "lora"}, True, torch.bfloat16),
        (None, False, torch.bfloat16),
    ],
)
def test_a_base_whose_weights_train_is_loaded_in_float32(
    adapter: Any, trains: bool, dtype: torch.dtype, base: str, tmp_path: Path
):
    # Tensors of the device "meta" have a type and no memory; as on a GPU, a frozen base is bfloat16 there.
    network = made(base, tmp_path, adapter=adapter)._load_base(trains, "meta")
    assert {weight.dtype for weight in network.parameters()} == {dtype}
