"""A decoder of any family is tuned by the same config: its layers are found, its answers and its labels are read."""

import pandas as pd
import pytest
import torch
from decoder_families import FAMILIES, save_family

from declarlm import DeclarLM
from declarlm.adapters.targets import find_targets
from declarlm.backbones import open_backbone

pytestmark = [
    pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils"),  # PEFT's calls cause it.
]

ROWS = pd.DataFrame(
    [
        {"note": f"the {color} cat sat on the {thing}", "color": color, "thing": thing}
        for color in ("red", "white")
        for thing in ("mat", "wine", "film", "food")
    ]
)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_config_trains_writes_and_scores(family, tmp_path):
    config = {
        "base_model": save_family(family, tmp_path / "base"),
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}, {"name": "thing", "type": "text"}],
        "adapter": {"type": "lora", "r": 4, "dropout": 0.0},
        "trainer": {"train_steps": 1, "batch_size": 8, "learning_rate": 0.01},
        "generation": {"max_new_tokens": 4},
        "preprocessing": {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}},
    }
    base = open_backbone(config["base_model"]).load_causal()
    result = DeclarLM(config).train(ROWS, output=tmp_path, name="run")
    model = result.model._ready()
    adapted = {name for name, part in model.module.backbone.base_model.model.named_modules() if hasattr(part, "lora_A")}
    assert adapted == set(find_targets(base, "auto").names)
    assert {name.rpartition(".")[2] for name in adapted} == FAMILIES[family][1]
    trained = [name for name, weight in model.module.named_parameters() if "lora_" in name and weight.abs().sum() > 0]
    assert len(trained) == 2 * len(adapted)  # B has left zero in every adapted layer
    found = result.model.predict(ROWS)
    assert found["color_predictions"].isin(["red", "white"]).all()
    sums = found["color_probabilities_red"] + found["color_probabilities_white"]
    assert sums.tolist() == pytest.approx([1.0] * len(ROWS), abs=1e-5)
    assert found["thing_predictions"].map(type).eq(str).all()
    pd.testing.assert_frame_equal(found, DeclarLM.load(result.directory).predict(ROWS))


@pytest.mark.parametrize("family", FAMILIES)
def test_its_loss_is_that_of_transformers(family, tmp_path):
    from declarlm.core.ragged import Ragged
    from declarlm.models.causal import build_causal, collate

    backbone = open_backbone(save_family(family, tmp_path / "base"))
    base = backbone.load_causal()
    ids = Ragged.from_rows([[3, 40, 50, 60, 70, 1], [3, 45, 55, 1]])
    labels = torch.tensor([[-100, -100, -100, 60, 70, 1], [-100, -100, 55, 1, -100, -100]])
    supervised = Ragged.from_rows([[0, 0, 0, 1, 1, 2], [0, 0, 1, 2]])
    padded = torch.tensor([[3, 40, 50, 60, 70, 1], [3, 45, 55, 1, 2, 2]])
    expected = base(input_ids=padded, attention_mask=padded.ne(2).long(), labels=labels).loss * 5
    causal = build_causal(base)
    found = causal.losses(collate(causal, ids, supervised))
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
