"""Tags of words: which token stands for a word, what a head sees of it, and what is said of words not read."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_bases import save_tiny_bert, save_tiny_llama

from declarlm import DeclarLM
from declarlm.combiners import combiners
from declarlm.config import load_config
from declarlm.core import ConfigError, DataError
from declarlm.encoders.tokens import word_tokens
from declarlm.features import input_features, output_features
from declarlm.models.ecd import Ecd, EcdSections

CELLS = [
    "the red-wine was good",
    ["white wine", "and", "bad-food"],
    "film",
    "the the the cat",
    "",
    ["a", "", "mat"],
]
TAGS = [
    "O B-drink O O",
    ["B-drink", "O", "B-food"],
    "O",
    "O O O B-pet",
    [],
    "O O B-thing",
]
TABLE = pd.DataFrame({"text": CELLS, "tags": TAGS, "city": ["Oslo", "Rome", "Oslo", "Rome", "Oslo", "Rome"]})
SCRATCH = {"type": "transformer", "embedding_size": 16, "num_layers": 1, "num_heads": 2, "dropout": 0.0}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("bert"), dropout=0.0)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


def pretrained(place, **settings):
    return {"type": "auto_transformer", "pretrained_model_name_or_path": place, **settings}


def loaded(registry, features):
    return [registry[one["type"]].Config.load({k: v for k, v in one.items() if k != "type"}) for one in features]


def fitted(encoder, table=TABLE, more=(), outputs=(), **tags):
    inputs = loaded(input_features, [{"name": "text", "type": "text", "encoder": encoder}, *more])
    both = loaded(output_features, [{"name": "tags", "type": "sequence", **tags}, *outputs])
    model = Ecd(EcdSections(inputs, both, combiners["concat"].Config()))
    model.fit(table, seed=0, folder=None)
    return model.build(total_steps=10, seed=0, device="cpu")


def test_the_token_of_a_word_is_the_first_or_last_that_shares_a_character():
    tokens = np.array([[0, 0], [0, 3], [3, 5], [6, 9], [9, 12], [12, 15], [0, 0]])  # marks at both ends
    words = [(0, 5), (6, 15), (16, 20), (5, 6)]
    assert word_tokens([tokens], [words], last=False).values.tolist() == [1, 3, -1, -1]
    assert word_tokens([tokens], [words], last=True).values.tolist() == [2, 5, -1, -1]
    # A byte-level tokenizer spreads one character over tokens, and lets a token begin with the space before it.
    tokens = np.array([[0, 1], [0, 1], [0, 1], [1, 4], [4, 6]])
    assert word_tokens([tokens], [[(0, 1), (2, 6)]], last=False).values.tolist() == [0, 3]
    assert word_tokens([tokens], [[(0, 1), (2, 6)]], last=True).values.tolist() == [2, 4]
    assert [len(row) for row in word_tokens([tokens, tokens[:0]], [[], [(0, 1)]], last=True)] == [0, 1]


def slowly(tokenizer, text, spans, last):
    """Which token stands for each word, character by character."""
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    found = []
    for start, end in spans:
        own = [place for place, (low, high) in enumerate(offsets) if set(range(low, high)) & set(range(start, end))]
        found.append((own[-1] if last else own[0]) if own else -1)
    return found


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_words_of_real_tokenizers_are_found(kind, request):
    model = fitted(pretrained(request.getfixturevalue(kind)))
    feature, encoder = model.inputs[0], model.encoders["text"]
    found = model.encode_inputs(TABLE).words["tags"]
    texts, spans = feature.transform(TABLE["text"]), feature.words(TABLE["text"])
    last = kind == "llama"
    assert encoder.left_to_right == last
    expected = [slowly(encoder.backbone.tokenizer, *row, last) for row in zip(texts, spans, strict=True)]
    assert [row.tolist() for row in found] == expected
    assert found.lengths.tolist() == [4, 3, 1, 4, 0, 3]
    assert expected[5][1] == -1  # The empty word of a list.


@pytest.mark.parametrize("kind", ["bert", "llama", "transformer", "embed", "parallel_cnn"])
def test_tags_are_learned_by_heart_and_the_same_whatever_stands_beside(kind, request):
    of_bert = pretrained(request.getfixturevalue(kind), trainable=True) if kind in ("bert", "llama") else None
    scratch = {**(SCRATCH if kind == "transformer" else {"type": kind}), "dropout": 0.0}
    model = fitted(of_bert or scratch, pd.concat([TABLE] * 2))  # A word that occurs once has no vector of its own.
    store, rows = model.encode(TABLE), np.arange(len(TABLE))
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model.losses(store, rows)["tags"] / model.weights(store, rows)["tags"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    (output,) = model.outputs
    together = model.predict(model.encode_inputs(TABLE))["tags"]
    assert output.columns(together)["tags_predictions"] == output.truth(TABLE["tags"])
    for row in range(len(TABLE)):
        alone = model.predict(model.encode_inputs(TABLE.iloc[[row]]))["tags"]
        np.testing.assert_allclose(alone.words[0], together.words[row], atol=1e-5)


def test_the_loss_is_the_mean_over_the_words_of_a_step(bert):
    model = fitted(pretrained(bert))
    model.module.eval()
    store = model.encode(TABLE)
    rows = np.arange(len(TABLE))
    assert model.weights(store, rows) == {"tags": 14}  # 15 words, one of them empty
    with torch.no_grad():
        whole = model.losses(store, rows)["tags"].item()
        assert sum(model.losses(store, rows[[row]])["tags"].item() for row in rows) == pytest.approx(whole, rel=1e-5)
    raws = model.predict(store)["tags"]
    shares = np.concatenate(raws.words)
    ids = store.targets["tags"].values
    assert -np.log(shares[ids >= 0, ids[ids >= 0]]).sum() == pytest.approx(whole, rel=1e-5)


def test_words_beyond_the_context_are_counted_tagged_outside_and_weigh_nothing(bert):
    model = fitted(pretrained(bert, max_sequence_length=4))
    store = model.encode(TABLE)
    assert model.overlong(store, len(TABLE)) == [
        "4 of 6 rows of 'text' reach 4 tokens; what is beyond is cut",
        "7 of 15 words of 'text' are empty or beyond what is read, and tagged O by 'tags'",
    ]
    assert model.weights(store, np.arange(6)) == {"tags": 8}
    columns = model.outputs[0].columns(model.predict(store)["tags"])
    assert [len(tags) for tags in columns["tags_predictions"]] == [4, 3, 1, 4, 0, 3]
    words = [
        (tag, share)
        for row in zip(columns["tags_predictions"], columns["tags_probabilities"], strict=True)
        for tag, share in zip(*row, strict=True)
    ]
    assert [share is None for _, share in words] == (store.words["tags"].values < 0).tolist()
    assert {tag for tag, share in words if share is None} == {"O"}


def test_a_frozen_encoder_reads_words_anew_and_never_drops_out(bert, monkeypatch):
    monkeypatch.setattr("declarlm.models.ecd.hidden_store", None)
    model = fitted(pretrained(bert))
    assert model.module.encoders[0].frozen
    before = {name: weight.clone() for name, weight in model.module.encoders[0].state_dict().items()}
    store = model.encode(TABLE)
    assert store.costs.max() > 1
    model.losses(store, np.arange(6))["tags"].backward()
    assert all(weight.grad is None for weight in model.module.encoders.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.module.encoders[0].state_dict().items())


def test_other_inputs_are_seen_beside_each_word():
    more = [{"name": "city", "type": "category"}]
    table = pd.DataFrame({"text": ["a a", "a a"] * 3, "city": ["Oslo", "Rome"] * 3, "tags": ["x x", "y y"] * 3})
    model = fitted(SCRATCH, table, more)
    store, rows = model.encode(table), np.arange(6)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.losses(store, rows)["tags"].backward()
        optimizer.step()
    predicted = model.outputs[0].columns(model.predict(store)["tags"])["tags_predictions"]
    assert predicted == [["x", "x"], ["y", "y"]] * 3  # Only the city tells.


def test_a_row_without_one_tag_for_each_word_is_named():
    for count, tags in ((1, "O"), (3, ["O", "O", "O"])):
        table = pd.DataFrame({"text": ["a b", ["a", "b"]], "tags": ["O B-x", tags]}, index=["first", "second"])
        with pytest.raises(DataError) as raised:
            fitted(SCRATCH, table)
        assert str(raised.value) == (
            f"column 'tags', row second: has {count} tags, but 'text' has 2 words; there must be one for each: "
            "give both as lists, or separate both by white space"
        )


CONFIG = {
    "input_features": [{"name": "text", "type": "text", "encoder": SCRATCH}],
    "output_features": [{"name": "tags", "type": "sequence"}],
    "trainer": {"train_steps": 4, "batch_size": 4, "learning_rate": 0.01},
}


def test_a_tagger_is_trained_saved_and_loaded(tmp_path):
    table = pd.concat([TABLE.iloc[:5]] * 8, ignore_index=True)
    result = DeclarLM({**CONFIG, "trainer": {"epochs": 3, "batch_size": 4}}).train(table, output=tmp_path)
    measured = result.metrics["test"]["tags"]
    assert set(measured) == {"entity_f1", "entity_precision", "entity_recall", "token_accuracy", "loss"}
    rows = TABLE[["text"]].set_axis(list("abccba"))
    predicted = result.model.predict(rows)
    again = DeclarLM.load(result.directory).predict(rows)
    pd.testing.assert_frame_equal(predicted, again)
    assert [len(tags) for tags in predicted["tags_predictions"]] == [4, 3, 1, 4, 0, 3]
    with pytest.warns(match="1 of 2 rows could not be predicted"):
        written = DeclarLM.load(result.directory).predict(pd.DataFrame({"text": [["a", 1], ["a", "b"]]}))
    assert written["tags_error"][0] == "column 'text', row 0: the list ['a', 1] must hold words only"
    assert len(written["tags_predictions"][1]) == 2
    evaluated = DeclarLM.load(result.directory).evaluate(TABLE)
    assert evaluated.predictions["tags_predictions"].tolist() == predicted["tags_predictions"].tolist()
    with pytest.raises(DataError, match="column 'tags', row 3: has 2 tags, but 'text' has 4 words"):
        result.model.evaluate(TABLE.assign(tags=[*TAGS[:3], "O O", *TAGS[4:]]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"output_features": [{"name": "tags", "type": "sequence", "of": "txt"}]},
            "output_features[0].of: no input with words is named 'txt', choose from: text",
        ),
        (
            {"input_features": [{"name": name, "type": "text", "encoder": SCRATCH} for name in ("a", "b")]},
            "output_features[0].of: is required: name the input whose words are tagged, choose from: a, b",
        ),
        (
            {"input_features": [{"name": "text", "type": "text"}]},
            "input_features[0].encoder: 'tf_idf' gives one vector a text, and 'tags' tags its words; choose from: "
            "albert, auto_transformer, ",
        ),
        (
            {
                "input_features": [
                    {
                        "name": "text",
                        "type": "text",
                        "encoder": "bert",
                        "preprocessing": {"cache_encoder_embeddings": True},
                    }
                ]
            },
            "input_features[0].preprocessing.cache_encoder_embeddings: keeps one vector a text, and 'tags' reads "
            "those of its words; leave it out",
        ),
        (
            {"combiner": {"type": "concat", "num_fc_layers": 1}},
            "combiner: has no effect: only words are tagged, and there is one input; leave it out",
        ),
        (
            {"input_features": [{"name": "text", "type": "number"}]},
            "output_features[0].of: is required: name the input whose words are tagged; add a text",
        ),
    ],
)
def test_what_cannot_be_tagged_is_told_by_the_config(changes, expected):
    with pytest.raises(ConfigError) as raised:
        load_config({**CONFIG, **changes})
    assert expected in str(raised.value)


def test_of_names_the_input_whose_words_are_tagged():
    inputs = [
        {"name": "text", "type": "text", "encoder": SCRATCH},
        {"name": "note", "type": "text", "tied": "text"},
    ]
    table = pd.DataFrame({"text": ["a b", "b"] * 8, "note": ["x y z", "y"] * 8, "tags": ["O O B", "B"] * 8})
    outputs = [{"name": "tags", "type": "sequence", "of": "note"}]
    model = Ecd(
        EcdSections(loaded(input_features, inputs), loaded(output_features, outputs), combiners["concat"].Config())
    )
    model.fit(table, seed=0, folder=None).build(total_steps=1, seed=0, device="cpu")
    assert [len(row) for row in model.predict(model.encode_inputs(table))["tags"].words] == [3, 1] * 8
