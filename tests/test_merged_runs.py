"""Adapters that end in the weights of their base: runs that load, and folders that plain transformers opens."""

import json

import pandas as pd
import pytest
import torch
from small_bases import save_tiny_bert, save_tiny_llama

from declarlm import DeclarLM
from declarlm.adapters.named import Merge
from declarlm.api.merging import merge_adapters, merge_into_base
from declarlm.core import ConfigError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")

COLORS, ANIMALS = ["red", "white", "brown"], ["dog", "pig", "fox"]
ROWS = pd.DataFrame([{"note": f"the {color} {animal}", "color": color} for color in COLORS for animal in ANIMALS])


def llm(base, adapter, **changes):
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": {"r": 4, **adapter},
        "trainer": {"train_steps": 6, "batch_size": 4, "learning_rate": 0.02},
        "preprocessing": {"split": {"type": "random", "probabilities": [0.8, 0.2, 0.0]}},
        **changes,
    }


def ecd(base, adapter):
    encoder = {"type": "auto_transformer", "pretrained_model_name_or_path": base, "adapter": {"r": 4, **adapter}}
    return {
        "input_features": [{"name": "note", "type": "text", "encoder": encoder}],
        "output_features": [{"name": "color", "type": "category"}],
        "trainer": {"train_steps": 6, "batch_size": 4, "learning_rate": 0.02},
        "preprocessing": {"split": {"type": "random", "probabilities": [0.8, 0.2, 0.0]}},
    }


MERGE = {"postprocessor": {"merge_adapter_into_base_model": True}}


def probabilities(model):
    found = model.predict(ROWS)
    return found[[name for name in found if "_probabilities_" in name]].to_numpy()


@pytest.mark.parametrize("kind", ["lora", "dora", "adalora"])
def test_a_run_ends_with_merged_weights(kind, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = save_tiny_llama(tmp_path / "base")
    steps = {"trainer": {"train_steps": 12, "batch_size": 4, "learning_rate": 0.02}}
    run = DeclarLM(llm(base, {"type": kind, **MERGE}, **steps)).train(ROWS, output=tmp_path, name="run")
    report = json.loads((run.directory / "model" / "merged.json").read_text())
    assert report["largest_difference"] < 1e-4
    assert report["dtype"] == "float32"
    assert report["from_quantized"] is None
    loaded = DeclarLM.load(run.directory)
    assert probabilities(loaded) == pytest.approx(probabilities(run.model), abs=1e-4)
    assert not hasattr(loaded._ready().module.backbone, "peft_config")
    plain = AutoModelForCausalLM.from_pretrained(run.directory / "model" / "weights")
    AutoTokenizer.from_pretrained(run.directory / "model" / "weights")
    ids = torch.tensor([[5, 9, 30, 11]])
    with torch.no_grad():
        expected = run.model._ready().module.backbone(input_ids=ids).logits
        torch.testing.assert_close(plain(input_ids=ids).logits, expected, rtol=0, atol=1e-4)
    loaded.save(tmp_path / "again")
    assert probabilities(DeclarLM.load(tmp_path / "again")) == pytest.approx(probabilities(loaded))


def test_an_adapted_head_is_untied_in_the_folder(tmp_path):
    from transformers import AutoModelForCausalLM

    base = save_tiny_llama(tmp_path / "base")
    tied = AutoModelForCausalLM.from_pretrained(base)
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    targets = {"target_modules": ["lm_head", "q_proj"]}
    run = DeclarLM(llm(base, {"type": "lora", **targets})).train(ROWS, output=tmp_path, name="run")
    merged = merge_into_base(run.directory, tmp_path / "merged", precision="bfloat16")
    assert merged.largest_difference < 1e-4 < merged.after_rounding
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged" / "model" / "weights")
    assert not plain.config.tie_word_embeddings
    assert plain.dtype == torch.bfloat16
    assert torch.equal(plain.get_input_embeddings().weight, tied.get_input_embeddings().weight.bfloat16())
    assert not torch.equal(plain.lm_head.weight, plain.get_input_embeddings().weight)
    assert probabilities(DeclarLM.load(tmp_path / "merged")) == pytest.approx(probabilities(run.model), abs=0.05)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantized_base_is_merged_into_its_full_weights(bits, stories, tmp_path):
    config = llm(stories, {"type": "lora"}, quantization={"bits": bits})
    run = DeclarLM(config).train(ROWS, output=tmp_path, name="run")
    merged = merge_into_base(run.directory, tmp_path / "merged")
    assert merged.largest_difference < 1e-4
    assert merged.remark().startswith("the adapter is merged: largest difference of a logit ")
    loaded = DeclarLM.load(tmp_path / "merged")
    networks = [model._ready().module.backbone for model in (run.model, loaded)]
    differences = []
    for row in run.model._ready()._golden:
        with torch.no_grad():
            before, after = (network(input_ids=torch.tensor([row])).logits for network in networks)
        differences.append((before - after).abs().max().item())
    assert merged.from_quantized == pytest.approx(max(differences), rel=1e-3)
    assert merged.from_quantized > 10 * merged.largest_difference
    assert (loaded.config.adapter, loaded.config.quantization) == (None, None)
    stored = json.loads((tmp_path / "merged" / "model" / "weights" / "config.json").read_text())
    assert "quantization_config" not in stored
    assert probabilities(loaded) == pytest.approx(probabilities(run.model), abs=0.3)


@pytest.mark.parametrize("during_training", [True, False])
def test_the_adapter_of_an_encoder_is_merged(during_training, tmp_path):
    from transformers import AutoModel

    base = save_tiny_bert(tmp_path / "base")
    config = ecd(base, {"type": "lora", **(MERGE if during_training else {})})
    run = DeclarLM(config).train(ROWS, output=tmp_path, name="run")
    folder = run.directory
    if not during_training:
        folder = tmp_path / "merged"
        assert merge_into_base(run.directory, folder).largest_difference < 1e-4
    loaded = DeclarLM.load(folder)
    assert probabilities(loaded) == pytest.approx(probabilities(run.model), abs=1e-4)
    plain = AutoModel.from_pretrained(folder / "model" / "encoders" / "0" / "body")
    (body,) = (encoder.body for encoder in loaded._ready().module.encoders)
    assert torch.equal(plain.embeddings.word_embeddings.weight, body.embeddings.word_embeddings.weight)
    loaded.save(tmp_path / "again")
    assert probabilities(DeclarLM.load(tmp_path / "again")) == pytest.approx(probabilities(loaded))


def test_runs_are_merged_with_one_another(tmp_path):
    base = save_tiny_llama(tmp_path / "base")
    for name, seed in (("one", 1), ("two", 2)):
        DeclarLM(llm(base, {"type": "lora", **(MERGE if name == "one" else {})}, seed=seed)).train(
            ROWS, output=tmp_path, name=name
        )
    merge_adapters([tmp_path / "one", tmp_path / "two"], tmp_path / "both", Merge(weights=[1.0, 0.0]))
    loaded = DeclarLM.load(tmp_path / "both")
    assert probabilities(loaded) == pytest.approx(probabilities(DeclarLM.load(tmp_path / "one")), abs=1e-4)
    assert (loaded.config.adapter.r, loaded.config.adapter.alpha) == (8, 8.0)
    with pytest.raises(ConfigError) as caught:
        merge_adapters([tmp_path / "one", tmp_path / "two"], tmp_path / "x", Merge(weights=[1.0]))
    assert str(caught.value) == "merge: weights: must be one for each of 2 adapters, got 1"


def test_what_has_no_adapter_to_merge_is_refused(tmp_path):
    base = save_tiny_llama(tmp_path / "base")
    run = DeclarLM({**llm(base, {}), "adapter": None}).train(ROWS, output=tmp_path, name="full")
    with pytest.raises(ModelError, match="the model has no adapter of its own"):
        merge_into_base(run.directory, tmp_path / "merged")
    run = DeclarLM(llm(base, {"type": "lora", **MERGE})).train(ROWS, output=tmp_path, name="done")
    with pytest.raises(ModelError, match=r"the adapter of .*done is merged already: .*done/model/weights"):
        merge_into_base(run.directory, tmp_path / "merged")
