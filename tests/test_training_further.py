"""Training goes on from a run that was loaded: its weights, its labels, a new optimizer."""

import json

import pandas as pd
import pytest
import torch
from small_bases import save_tiny_bert, save_tiny_llama

from declarlm import DeclarLM
from declarlm.api import resume_training
from declarlm.core import DataError, ModelError
from declarlm.training import Trainer

pytestmark = pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")

COLORS, ANIMALS = ["red", "white", "brown"], ["dog", "pig", "fox", "cow"]
ROWS = pd.DataFrame(
    [
        {"note": f"the {color} {animal}", "color": color, "size": 3.0 + len(animal)}
        for color in COLORS
        for animal in ANIMALS
    ]
)
MORE = ROWS[ROWS["color"] != "brown"].reset_index(drop=True)
SPLIT = {"split": {"type": "random", "probabilities": [0.75, 0.25, 0.0]}}


def llm(base, adapter, **trainer):
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": adapter,
        "trainer": {"train_steps": 12, "batch_size": 4, "learning_rate": 0.01, **trainer},
        "preprocessing": SPLIT,
    }


def ecd(base, encoder, **trainer):
    text = {"type": "auto_transformer", "pretrained_model_name_or_path": base, **encoder}
    return {
        "input_features": [{"name": "note", "type": "text", "encoder": text}, {"name": "size", "type": "number"}],
        "output_features": [{"name": "color", "type": "category"}],
        "trainer": {"train_steps": 12, "batch_size": 4, "learning_rate": 0.01, **trainer},
        "preprocessing": SPLIT,
    }


CASES = {
    "lora": lambda folder: llm(save_tiny_llama(folder), {"type": "lora", "r": 4}),
    "adalora": lambda folder: llm(save_tiny_llama(folder), {"type": "adalora", "r": 4}),
    "all weights": lambda folder: llm(save_tiny_llama(folder), None, learning_rate=0.001),
    "frozen encoder": lambda folder: ecd(save_tiny_bert(folder), {}),
    "trained encoder": lambda folder: ecd(save_tiny_bert(folder), {"trainable": True}, learning_rate=0.001),
    "adapted encoder": lambda folder: ecd(save_tiny_bert(folder), {"adapter": {"type": "lora", "r": 4}}),
}


def copied(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def weights(model):
    return copied(model._ready().module)


@pytest.mark.parametrize("case", CASES)
def test_it_goes_on_from_the_loaded_weights(case, tmp_path, monkeypatch):
    first = DeclarLM(CASES[case](tmp_path / "base")).train(ROWS, output=tmp_path, name="first")
    before = {path: path.read_bytes() for path in first.directory.rglob("*") if path.is_file()}
    loaded = DeclarLM.load(first.directory)
    start = weights(loaded)
    begun = []
    monkeypatch.setattr(Trainer, "fire_drill", lambda trainer, _: begun.append(copied(trainer.module)))
    second = loaded.train(MORE, output=tmp_path, name="second")
    assert begun[0].keys() == start.keys()
    for name, weight in start.items():
        torch.testing.assert_close(begun[0][name], weight, rtol=0, atol=1e-6)
    assert second.directory != first.directory
    assert before == {path: path.read_bytes() for path in first.directory.rglob("*") if path.is_file()}
    moved = weights(DeclarLM.load(second.directory))
    assert any(not torch.equal(moved[name], weight) for name, weight in start.items())
    # What no row shows any more is still known.
    found = DeclarLM.load(second.directory).predict(ROWS)
    assert {f"color_probabilities_{color}" for color in COLORS} <= set(found)
    pd.testing.assert_frame_equal(second.model.predict(ROWS), found)
    assert not (second.directory / "start").exists()
    assert "training goes on from the weights of first" in (second.directory / "data.json").read_text()


def test_a_new_label_is_refused(tmp_path):
    first = DeclarLM(CASES["lora"](tmp_path / "base")).train(ROWS, output=tmp_path, name="first")
    rows = pd.concat([MORE, MORE.head(1).assign(color="green")], ignore_index=True)
    with pytest.raises(DataError) as caught:
        DeclarLM.load(first.directory).train(rows, validation=ROWS, output=tmp_path, name="second")
    assert str(caught.value) == (
        "column 'color', row 8: 'green' is no label that the loaded model knows; leave such rows out, or train a new "
        "model on all rows"
    )
    assert not (tmp_path / "second").exists()


def test_an_interrupted_one_resumes_to_the_same_weights(tmp_path):
    first = DeclarLM(CASES["lora"](tmp_path / "base")).train(ROWS, output=tmp_path, name="first")
    path = tmp_path / "more.csv"
    MORE.to_csv(path, index=False)
    DeclarLM.load(first.directory).train(path, output=tmp_path, name="whole")
    model = DeclarLM.load(first.directory)
    steps = model.steps(path, output=tmp_path, name="part")
    next(steps)
    steps.close()
    for name in ("first", "whole"):
        (tmp_path / name).rename(tmp_path / f"{name}_moved")
    resumed = resume_training(tmp_path / "part")
    assert resumed.directory == tmp_path / "part"
    expected = weights(DeclarLM.load(tmp_path / "whole_moved"))
    for name, weight in weights(DeclarLM.load(resumed.directory)).items():
        assert torch.equal(weight, expected[name])


def test_pretrained_adapter_weights_may_be_a_run(tmp_path):
    config = CASES["lora"](tmp_path / "base")
    first = DeclarLM(config).train(ROWS, output=tmp_path, name="first")
    begun = {**config, "adapter": {"type": "lora", "pretrained_adapter_weights": str(first.directory)}}
    begun["trainer"] = {**config["trainer"], "train_steps": 1, "learning_rate": 1e-12}
    second = DeclarLM(begun).train(ROWS, output=tmp_path, name="second")
    expected = weights(first.model)
    for name, weight in weights(second.model).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)


def test_weights_that_are_nowhere_are_named_by_their_place_in_the_config(tmp_path):
    config = CASES["lora"](tmp_path / "base")
    nowhere = {**config, "adapter": {"type": "lora", "pretrained_adapter_weights": "/nowhere/at/all"}}
    with pytest.raises(ModelError) as caught:
        DeclarLM(nowhere).train(ROWS, output=tmp_path)
    assert str(caught.value) == "config: adapter.pretrained_adapter_weights: there is no folder '/nowhere/at/all'"
    written = tmp_path / "my.yaml"
    written.write_text(json.dumps({**config, "base_model": "/nowhere/at/all"}, indent=1))
    with pytest.raises(ModelError) as caught:
        DeclarLM(written).train(ROWS, output=tmp_path)
    assert str(caught.value) == f"{written}:2: base_model: there is no folder '/nowhere/at/all'"
