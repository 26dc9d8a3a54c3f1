"""The example that writes JSON, and several kinds of answers to one prompt."""

from pathlib import Path

import pandas as pd
import pytest

from declarlm import DeclarLM

CONFIG = Path(__file__).parents[2] / "examples" / "json_extraction" / "config.yaml"


@pytest.fixture(scope="module")
def places(shared):
    table = pd.read_csv(shared / "data/e2e_extraction/train.csv", dtype=str, keep_default_na=False)
    table = table[(table["text"].str.len() < 70) & (table["area"] != "")].drop_duplicates("text")
    return table.assign(words=table["text"].str.split().str.len()).head(48).reset_index(drop=True)


def test_a_base_learns_to_write_json_that_keeps_a_schema(places, tmp_path):
    overrides = {"trainer.epochs": 12}
    result = DeclarLM(CONFIG, overrides=overrides).train(places, output=tmp_path)
    found = result.model.evaluate(places[:12])
    untrained = {"adapter": None, "trainer": {"type": "none"}}
    base = DeclarLM(CONFIG, overrides=untrained).evaluate(places[:12]).metrics["json"]
    assert found.metrics["json"]["json_valid"] > max(0.7, base["json_valid"])
    assert found.metrics["json"]["schema_valid"] > base["schema_valid"]
    assert found.metrics["json"]["field_accuracy"] > base["field_accuracy"] + 0.3
    assert any(isinstance(value, dict) for value in found.predictions["json_predictions"])


@pytest.mark.slow
def test_one_prompt_has_answers_of_several_kinds(places, tmp_path):
    outputs = {"output_features": [{"name": "area", "type": "category"}, {"name": "words", "type": "number"}]}
    outputs["output_features"] += [{"name": "json", "type": "json"}, {"name": "near", "type": "text"}]
    rows = places.assign(near=places["text"].str.split().str[-2:].str.join(" "))
    config = {
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        **outputs,
        "adapter": {"type": "lora", "r": 16},
        "trainer": {"epochs": 12, "learning_rate": 2.0e-3},
    }
    result = DeclarLM(config).train(rows, output=tmp_path)
    found = result.model.evaluate(rows[:12])
    assert set(found.metrics) == {"area", "words", "json", "near", "combined"}
    assert found.metrics["area"]["accuracy"] > 0.7
    assert found.metrics["json"]["json_valid"] > 0.5
    assert found.predictions["words_predictions"].notna().all()
    assert found.predictions["near_predictions"].str.len().gt(0).any()
    again = DeclarLM.load(result.directory).predict(rows[:12])
    assert again["json_predictions"].tolist() == found.predictions["json_predictions"].tolist()
    assert again["area_predictions"].tolist() == found.predictions["area_predictions"].tolist()
