"""The main path, whole: a config and a table in, a run directory and predictions out."""

import json
from typing import ClassVar

import pandas as pd
import pytest
import yaml

from declarlm import ConfigError, DeclarLM, load_config
from declarlm.training.progress import Quiet

COLORS = ["red", "blue", "green", "black", "white", "brown"]
ANIMALS = ["cat", "dog", "bird", "fish"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Sentences that name an animal and a color."""
    records = [
        {"note": f"The {color} {animal} sat on the mat.", "animal": animal, "color": color, "length": len(color)}
        for color in COLORS
        for animal in ANIMALS
    ]
    return pd.DataFrame(records * 3)


def config(stories: str, **changes: object) -> dict[str, object]:
    return {
        "base_model": stories,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "text"}],
        "prompt": {"template": "{{ note }} What color was it?"},
        "adapter": {"type": "lora", "r": 8},
        "trainer": {"epochs": 6, "batch_size": 4, "learning_rate": 5e-3},
        **changes,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory, rows):
    from tests.conftest import SHARED

    stories = str(SHARED / "models" / "stories260K")
    slow = {"epochs": 6, "batch_size": 4, "learning_rate": 1e-3}  # so that the first epoch does not learn it all
    model = DeclarLM(config(stories, trainer=slow))
    return model.train(rows, output=tmp_path_factory.mktemp("runs"), name="colors")


def test_training_lowers_the_held_out_loss_and_leaves_a_whole_run(shared, trained):
    losses = trained.history["metrics.loss"].tolist()
    assert losses[-1] < 0.7 * losses[0]
    run = trained.directory
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "config.resolved.yaml", "environment.json", "data.json", "features.json"} <= names
    assert {"model", "checkpoints", "metrics.jsonl", "README.md", "STATUS"} <= names
    assert (run / "STATUS").read_text().split() == ["finished"]
    assert json.loads((run / "data.json").read_text())["rows"] == {"train": 50, "validation": 7, "test": 15}
    assert not [path for path in run.rglob("*") if path.suffix in {".bin", ".pt", ".pkl", ".pth"}]


def test_a_loaded_run_predicts_the_same(shared, trained, rows):
    new = rows.iloc[[5, 3, 3, 0]].set_index(pd.Index(["a", "b", "b", "c"]))
    here = trained.model.predict(new)
    there = DeclarLM.load(trained.directory).predict(new)
    pd.testing.assert_frame_equal(here, there)
    assert list(there.index) == ["a", "b", "b", "c"]
    assert there["color_predictions"].iloc[1] == there["color_predictions"].iloc[2]


def test_a_moved_run_still_loads(shared, trained, rows, tmp_path):
    moved = trained.directory.rename(tmp_path / "elsewhere")
    try:
        assert len(DeclarLM.load(moved).predict(rows.head(2))) == 2
    finally:
        moved.rename(trained.directory)


def test_the_adapter_opens_in_plain_peft(shared, trained, stories):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(stories)
    wrapped = PeftModel.from_pretrained(base, str(trained.directory / "model" / "adapter"))
    assert sum(weight.abs().sum() for name, weight in wrapped.named_parameters() if "lora_B" in name) > 0


def test_a_resolved_config_loads_to_itself(shared, trained):
    resolved = trained.directory / "config.resolved.yaml"
    given = load_config(resolved)
    assert type(given).load(given.dump()) == given
    assert given == trained.model.config
    data = yaml.safe_load(resolved.read_text())
    assert data["trainer"]["learning_rate_scheduler"]["type"] == "cosine"
    assert data["adapter"]["alpha"] == 16


def test_labels_are_scored_and_probabilities_sum_to_one(stories, rows, tmp_path):
    changed = config(stories, output_features=[{"name": "animal", "type": "category"}])
    result = DeclarLM(changed).train(rows, output=tmp_path)
    predictions = result.model.predict(rows)
    shares = predictions[[f"animal_probabilities_{animal}" for animal in ANIMALS]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1)
    assert set(predictions["animal_predictions"]) <= set(ANIMALS)
    assert predictions["animal_probability"].to_numpy() == pytest.approx(shares.max(axis=1).to_numpy())
    assert (predictions["animal_predictions"] == rows["animal"]).mean() > 0.9
    assert result.metrics["test"]["animal"]["accuracy"] > 0.9


def test_several_outputs_are_answered_in_turn(rows, tmp_path):
    outputs = [{"name": "animal", "type": "category"}, {"name": "length", "type": "number"}]
    # Not by stories260K: it never saw its stop token, so a frozen base of it cannot learn where a number ends.
    changed = config("starter", output_features=outputs, trainer={"epochs": 6, "batch_size": 8, "learning_rate": 5e-3})
    result = DeclarLM(changed).train(rows, output=tmp_path)
    predictions = result.model.predict(rows)
    assert (predictions["animal_predictions"] == rows["animal"]).mean() > 0.9
    assert (predictions["length_predictions"] == rows["length"]).mean() > 0.8


def test_a_base_that_never_saw_its_stop_token_is_warned_about(stories, rows, tmp_path):
    class Notes(Quiet):
        heard: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.heard.append(text)

    DeclarLM(config(stories, trainer={"train_steps": 1})).train(rows, output=tmp_path, progress=Notes())
    assert [text for text in Notes.heard if "stop token" in text] == [
        f"{stories} never learned its stop token '</s>': its output weights equal those of 168 other tokens and stay "
        "frozen, so answers will rarely end; choose another base_model, or train all weights (adapter: null)"
    ]


def test_a_base_model_answers_without_training(stories, rows):
    labels = {"preprocessing": {"labels": ANIMALS}}
    changed = config(stories, output_features=[{"name": "animal", "type": "category", **labels}])
    del changed["adapter"], changed["trainer"]
    predictions = DeclarLM(changed).predict(rows.head(3))
    assert set(predictions["animal_predictions"]) <= set(ANIMALS)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_trains_and_predicts(stories, rows, tmp_path, bits):
    changed = config(stories, quantization={"bits": bits})
    result = DeclarLM(changed).train(rows, output=tmp_path)
    losses = result.history["metrics.loss"].tolist()
    assert losses[-1] < losses[0]
    pd.testing.assert_frame_equal(
        result.model.predict(rows.head(4)), DeclarLM.load(result.directory).predict(rows.head(4))
    )


def test_adalora_ends_at_its_target_rank(stories, rows, tmp_path):
    changed = config(stories, adapter={"type": "adalora", "r": 4}, trainer={"epochs": 4, "batch_size": 4})
    result = DeclarLM(changed).train(rows, output=tmp_path)
    settings = json.loads((result.directory / "model" / "adapter" / "adapter_config.json").read_text())
    ranks = [sum(pattern) for pattern in settings["rank_pattern"].values()]
    assert sum(ranks) / len(ranks) == pytest.approx(4, abs=0.5)


def test_all_weights_train_without_an_adapter(stories, rows, tmp_path):
    changed = config(stories, adapter=None, trainer={"type": "finetune", "epochs": 1, "learning_rate": 1e-3})
    result = DeclarLM(changed).train(rows, output=tmp_path)
    assert (result.directory / "model" / "weights" / "model.safetensors").is_file()
    pd.testing.assert_frame_equal(
        result.model.predict(rows.head(3)), DeclarLM.load(result.directory).predict(rows.head(3))
    )


@pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")
def test_a_model_from_scratch_learns_raw_text(rows, tmp_path):
    scratch = {
        "architecture": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "context_length": 32},
        "input_features": [{"name": "note", "type": "text"}],
        "trainer": {"type": "pretrain", "epochs": 10, "batch_size": 4, "learning_rate": 3e-3},
    }
    scratch["architecture"]["tokenizer"] = {"type": "bpe", "vocab_size": 300}
    result = DeclarLM(scratch).train(rows, output=tmp_path)
    losses = result.history["metrics.loss"].tolist()
    assert losses[-1] < 0.7 * losses[0]
    tuned = config(str(result.directory / "model" / "weights"))
    assert len(DeclarLM(tuned).train(rows, output=tmp_path).model.predict(rows.head(2))) == 2


def test_encoders_and_heads_learn_a_table(rows, tmp_path):
    ecd = {
        "model_type": "ecd",
        "input_features": [{"name": "note", "type": "text"}, {"name": "length", "type": "number"}],
        "output_features": [{"name": "animal", "type": "category"}, {"name": "color", "type": "category"}],
        "trainer": {"epochs": 15, "batch_size": 8, "learning_rate": 1e-2},
    }
    result = DeclarLM(ecd).train(rows, output=tmp_path)
    assert result.metrics["test"]["animal"]["accuracy"] > 0.8
    pd.testing.assert_frame_equal(
        result.model.predict(rows.head(5)), DeclarLM.load(result.directory).predict(rows.head(5))
    )


def test_every_row_is_tested_once_in_a_cross_validation(rows, tmp_path):
    ecd = {
        "model_type": "ecd",
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "animal", "type": "category"}],
        "trainer": {"epochs": 10, "batch_size": 8},
    }
    metrics = DeclarLM(ecd).cross_validate(rows, folds=3, output=tmp_path)
    assert list(metrics.index) == [1, 2, 3]
    assert metrics["animal.accuracy"].between(0, 1).all()
    tested = [json.loads((tmp_path / f"fold_{fold}" / "data.json").read_text())["rows"]["test"] for fold in (1, 2, 3)]
    assert sum(tested) == len(rows)


def test_a_back_test_trains_on_the_past_only(rows, tmp_path):
    dated = rows.assign(day=pd.date_range("2026-01-01", periods=len(rows)).astype(str))
    ecd = {
        "model_type": "ecd",
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "animal", "type": "category"}],
        "trainer": {"epochs": 2, "batch_size": 8},
    }
    metrics = DeclarLM(ecd).back_test(dated, "day", windows=2, output=tmp_path)
    assert list(metrics.index) == [1, 2]
    sizes = [json.loads((tmp_path / f"window_{window}" / "data.json").read_text())["rows"] for window in (1, 2)]
    assert sizes[1]["train"] == sizes[0]["train"] + sizes[0]["validation"]


def test_an_ecd_row_is_previewed_with_its_label(rows):
    ecd = {
        "model_type": "ecd",
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "animal", "type": "category"}],
    }
    first = DeclarLM(ecd).preview(rows, rows=1)[0]
    assert {span.column: span.text for span in first.spans if span.role == "answer"} == {"animal": "cat"}


def test_a_part_without_a_type_is_the_usual_one():
    ecd = load_config(
        {
            "model_type": "ecd",
            "input_features": [{"name": "note", "type": "text", "encoder": {"ngram_size": 1}}],
            "output_features": [{"name": "animal", "type": "category", "loss": {"weight": 0.5}}],
        },
        {"animal.decoder.dropout": 0.2},
    )
    assert (ecd.input_features[0].encoder.type, ecd.input_features[0].encoder.ngram_size) == ("tf_idf", 1)
    assert (ecd.output_features[0].decoder.type, ecd.output_features[0].decoder.dropout) == ("classifier", 0.2)
    assert (ecd.output_features[0].loss.type, ecd.output_features[0].loss.weight) == ("softmax_cross_entropy", 0.5)


def test_qlora_is_refused_on_eight_bits():
    with pytest.raises(ConfigError) as error:
        load_config(config("base", adapter="qlora", quantization={"bits": 8}))
    expected = "config: quantization.bits: must be 4 for adapter qlora, got 8; write adapter: lora to keep it"
    assert str(error.value) == expected
