import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

from declarlm.core import ConfigError, ModelError
from declarlm.encoders import encoders

TEXTS = ["the film was very good", "bad", "not a good food"]


def built(folder, **settings):
    config = {"pretrained_model_name_or_path": folder, **settings}
    encoder = encoders["auto_transformer"].Config.load(config).build().fit(TEXTS)
    return encoder, encoder.build()


def hidden(encoder, module, texts):
    return module(**encoder.collate(encoder.transform(texts)))


def reference(folder, text):
    """Hidden states of one text alone, from transformers itself."""
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder).eval()(ids)


@pytest.mark.parametrize(
    ("how", "pooled"),
    [
        ("mean", lambda out: out.last_hidden_state[0].mean(0)),
        ("cls", lambda out: out.last_hidden_state[0, 0]),
        ("last", lambda out: out.last_hidden_state[0, -1]),
        ("max", lambda out: out.last_hidden_state[0].amax(0)),
        ("sum", lambda out: out.last_hidden_state[0].sum(0)),
        ("cls_pooled", lambda out: out.pooler_output[0]),
    ],
)
def test_a_row_in_a_batch_is_what_transformers_gives_for_it_alone(tiny_bert, how, pooled):
    encoder, module = built(tiny_bert, reduce_output=how)
    together = hidden(encoder, module, TEXTS).pooled
    for text, vector in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(vector, pooled(reference(tiny_bert, text)), rtol=1e-5, atol=1e-6)


def test_what_stands_in_padded_places_does_not_matter(tiny_bert):
    encoder, module = built(tiny_bert)
    batch = encoder.collate(encoder.transform(TEXTS))
    other = torch.where(batch["mask"], batch["ids"], 7)
    torch.testing.assert_close(module(**batch).pooled, module(other, batch["mask"]).pooled)


def test_a_frozen_body_stays_in_evaluation_and_trains_nothing(tiny_bert):
    encoder, module = built(tiny_bert)
    module.train()
    assert encoder.frozen
    assert torch.equal(hidden(encoder, module, TEXTS).pooled, hidden(encoder, module, TEXTS).pooled)
    assert not hidden(encoder, module, TEXTS).pooled.requires_grad
    assert encoder.parameter_groups(module, None) == []


def test_a_trained_body_drops_out_and_learns_slowly(tiny_bert):
    encoder, module = built(tiny_bert, trainable=True)
    module.train()
    assert not encoder.frozen
    assert not torch.equal(hidden(encoder, module, TEXTS).pooled, hidden(encoder, module, TEXTS).pooled)
    hidden(encoder, module, TEXTS).pooled.square().sum().backward()
    groups = encoder.parameter_groups(module, None)
    assert {group["lr"] for group in groups} == {2e-5}
    weights = [weight for group in groups for weight in group["params"]]
    assert all(weight.grad is not None for weight in weights)
    assert {id(weight) for weight in weights} == {id(w) for w in module.parameters() if w.requires_grad}
    assert all(weight.ndim >= 2 for group in groups if "weight_decay" not in group for weight in group["params"])


def test_a_decoder_only_model_gives_the_state_of_its_last_real_token(stories):
    encoder, module = built(stories)
    assert encoder.how == "last"
    texts = ["Once upon a time", "", "The end of it all was near"]
    together = hidden(encoder, module, texts).pooled
    for text, vector in zip(texts, together, strict=True):
        torch.testing.assert_close(vector, reference(stories, text).last_hidden_state[0, -1], rtol=1e-4, atol=1e-5)


def test_texts_are_cut_to_what_the_model_takes(tiny_bert):
    encoder, _ = built(tiny_bert)
    long = "good " * 100
    assert encoder.transform([long]).lengths.tolist() == [16]
    assert built(tiny_bert, max_sequence_length=5)[0].transform([long])[0].tolist() == [2, 4, 4, 4, 3]


def test_random_weights_differ_from_the_pretrained_ones(tiny_bert):
    _, module = built(tiny_bert, use_pretrained=False, trainable=True)
    pretrained = built(tiny_bert)[1]
    assert not torch.equal(next(module.parameters()), next(pretrained.parameters()))
    assert all(weight.requires_grad for name, weight in module.named_parameters() if "pooler" not in name)


@pytest.mark.parametrize("settings", [{}, {"trainable": True}, {"adapter": "lora"}, {"use_pretrained": False}])
def test_an_encoder_survives_saving(tiny_bert, tmp_path, settings):
    encoder, module = built(tiny_bert, **settings)
    encoder.adapt(module, total_steps=10, seed=0)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    encoder.save(module.eval(), tmp_path)
    restored = encoder.config.build(encoder.State.load(encoder.state.dump()))
    loaded = restored.load(tmp_path)
    torch.testing.assert_close(hidden(restored, loaded, TEXTS).pooled, hidden(encoder, module, TEXTS).pooled)
    assert (tmp_path / "body").exists() == (settings not in ({}, {"adapter": "lora"}))


@pytest.mark.parametrize("family", ["t5", "mt5", "umt5"])
@pytest.mark.parametrize("settings", [{}, {"trainable": True}, {"use_pretrained": False, "trainable": True}])
def test_the_reading_half_of_a_t5_survives_saving(family, settings, tiny_bert, tmp_path):
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    config = AutoConfig.for_model(family, vocab_size=len(AutoTokenizer.from_pretrained(tiny_bert)), **shape)
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "base")
    encoder, module = built(str(tmp_path / "base"), **settings)
    assert type(module.body).__name__ == f"{family.upper()}EncoderModel"
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    encoder.save(module.eval(), tmp_path / "saved")
    restored = encoder.config.build(encoder.State.load(encoder.state.dump()))
    loaded = restored.load(tmp_path / "saved")
    torch.testing.assert_close(hidden(restored, loaded, TEXTS).pooled, hidden(encoder, module, TEXTS).pooled)


def test_another_model_must_not_take_the_place_of_the_frozen_one(tiny_bert, stories, tmp_path):
    encoder, module = built(tiny_bert)
    encoder.save(module, tmp_path)
    other = encoder.config.replace(pretrained_model_name_or_path=stories).build(encoder.state)
    with pytest.raises(ModelError, match="is not the model that this one was trained on; its files have changed"):
        other.load(tmp_path)


def test_an_adapter_trains_beside_a_frozen_body(tiny_bert):
    encoder, module = built(tiny_bert, adapter={"type": "lora", "r": 2, "dropout": 0.0})
    before = hidden(encoder, module.eval(), TEXTS).pooled
    encoder.adapt(module, total_steps=10, seed=0)
    torch.testing.assert_close(hidden(encoder, module.eval(), TEXTS).pooled, before)
    names = [name for name, weight in module.named_parameters() if weight.requires_grad]
    assert names
    assert all("lora" in name for name in names)
    (group,) = encoder.parameter_groups(module, None)
    assert group["lr"] > 1e-5
    assert len(encoder.hooks(module)) == 1


def test_cls_pooled_needs_a_pooler_of_the_model(stories):
    with pytest.raises(ModelError, match="has no pooler of its own; write reduce_output: cls"):
        built(stories, reduce_output="cls_pooled")


def test_a_model_must_be_named():
    with pytest.raises(ConfigError, match="pretrained_model_name_or_path: is required: a Hugging Face id or a folder"):
        encoders["auto_transformer"].Config.load({})
    assert encoders["bert"].Config.load({}).pretrained_model_name_or_path == "google-bert/bert-base-uncased"


def test_all_weights_or_an_adapter():
    with pytest.raises(ConfigError, match="trainable: must be false with an adapter"):
        encoders["bert"].Config.load({"trainable": True, "adapter": "lora"})


def test_no_token_ids_come_from_the_mask_of_another_row(tiny_bert):
    encoder, _ = built(tiny_bert)
    batch = encoder.collate(encoder.transform(["good", "good food"]))
    assert batch["ids"].tolist() == [[2, 4, 3, 0], [2, 4, 9, 3]]
    assert batch["mask"].tolist() == [[True, True, True, False], [True] * 4]
    assert np.array_equal(encoder.costs(encoder.transform(["good", "good food"])), [3, 4])
