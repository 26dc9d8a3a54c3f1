import numpy as np
import pandas as pd
import pytest
import torch

from declarlm.combiners import combiners
from declarlm.core import DataError
from declarlm.core.cache import cache_folder
from declarlm.data import hidden
from declarlm.features import input_features, output_features
from declarlm.models.ecd import Ecd, EcdSections

ROWS = 48
TABLE = pd.DataFrame(
    {
        "text": [f"the {'good' if row % 3 else 'bad'} one " + "and more " * (row % 5) for row in range(ROWS)],
        "city": ["Rome" if row % 2 else "Oslo" for row in range(ROWS)],
        "age": [str(row % 7) for row in range(ROWS)],
        "paid": ["yes" if row % 4 == 0 else "no" for row in range(ROWS)],
        "kind": [f"{'good' if row % 3 else 'bad'} {'Rome' if row % 2 else 'Oslo'}" for row in range(ROWS)],
        "spam": ["yes" if row % 3 else "no" for row in range(ROWS)],
        "score": [2.5 * (row % 7) + 10 for row in range(ROWS)],
    }
)
INPUTS = [
    {"name": "text", "type": "text", "encoder": "tf_idf"},
    {"name": "city", "type": "category"},
    {"name": "age", "type": "number", "encoder": "ple"},
    {"name": "paid", "type": "binary"},
]
OUTPUTS = [
    {"name": "kind", "type": "category"},
    {"name": "spam", "type": "binary", "loss": {"type": "binary_weighted_cross_entropy", "weight": 0.5}},
    {"name": "score", "type": "number"},
]


def load(registry, features):
    return [registry[one["type"]].Config.load({k: v for k, v in one.items() if k != "type"}) for one in features]


def make(inputs=INPUTS, outputs=OUTPUTS, combiner="concat", **settings):
    section = combiners[combiner].Config.load(settings)
    return Ecd(EcdSections(load(input_features, inputs), load(output_features, outputs), section))


def fitted(table=TABLE, seed=0, folder=None, **sections):
    model = make(**sections).fit(table, seed=seed, folder=folder)
    return model.build(total_steps=10, seed=seed, device="cpu")


def train(model, store, steps=150):
    rows = np.arange(len(store))
    optimizer = torch.optim.AdamW(model.parameter_groups("auto"))
    model.module.train()
    for _ in range(steps):
        weights = model.weights(store, rows)
        losses = model.losses(store, rows)
        loss = sum(model.importance[name] * losses[name] / weights[name] for name in losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.module.eval()


def frozen_input(stories, **preprocessing):
    encoder = {"type": "auto_transformer", "pretrained_model_name_or_path": stories}
    return {"name": "text", "type": "text", "encoder": encoder, "preprocessing": preprocessing}


def test_every_type_of_column_is_learned_together():
    torch.manual_seed(0)
    model = fitted(output_size=64)
    store = model.encode(TABLE)
    train(model, store)
    raws = model.predict(model.encode_inputs(TABLE.drop(columns=["kind", "spam", "score"])))
    columns = {key: value for output in model.outputs for key, value in output.columns(raws[output.name]).items()}
    assert columns["kind_predictions"] == TABLE["kind"].tolist()
    assert columns["spam_predictions"] == TABLE["spam"].tolist()
    np.testing.assert_allclose(columns["score_predictions"], TABLE["score"], atol=2.0)
    assert model.importance == {"kind": 1.0, "spam": 0.5, "score": 1.0}


def test_predictions_keep_the_order_of_the_rows_whatever_their_length(stories):
    model = fitted(inputs=[frozen_input(stories, cache_encoder_embeddings=False)])
    store = model.encode_inputs(TABLE)
    assert len(set(store.costs.tolist())) > 3
    together = model.predict(store)
    order = np.random.default_rng(0).permutation(ROWS)
    shuffled = model.predict(model.encode_inputs(TABLE.iloc[order]))
    np.testing.assert_allclose(together["kind"].probabilities[order], shuffled["kind"].probabilities, rtol=1e-5)
    np.testing.assert_allclose(together["score"].values[order], shuffled["score"].values, rtol=1e-5)


def test_losses_do_not_depend_on_how_a_step_is_cut():
    model = fitted()
    model.module.eval()
    store = model.encode(TABLE)
    whole = model.losses(store, np.arange(ROWS))
    parts = [model.losses(store, rows) for rows in np.array_split(np.arange(ROWS), 5)]
    for name, loss in whole.items():
        assert sum(part[name].item() for part in parts) == pytest.approx(loss.item(), rel=1e-5)
    assert model.weights(store, np.arange(7)) == {"kind": 7, "spam": 7, "score": 7}


def test_a_frozen_encoder_runs_once_and_gives_the_same_losses(stories, monkeypatch):
    monkeypatch.setattr(hidden, "KEPT_FROM", 1)
    cached, live = (
        fitted(inputs=[frozen_input(stories, cache_encoder_embeddings=wanted)]) for wanted in ("auto", False)
    )
    calls = []
    cached.module.encoders[0].register_forward_hook(lambda *_: calls.append(1))
    rows = np.arange(ROWS)
    for model in (cached, live):
        model.module.eval()
    store, other = cached.encode(TABLE), live.encode(TABLE)
    assert store.costs.tolist() == [1] * ROWS
    assert other.costs.min() > 1
    for _ in range(2):
        found, expected = cached.losses(store, rows), live.losses(other, rows)
        for name, loss in expected.items():
            assert found[name].item() == pytest.approx(loss.item(), rel=1e-5)
    assert len(calls) == 1
    assert len(list((cache_folder() / "hidden").iterdir())) == 1


def test_few_rows_are_encoded_once_for_loss_and_predictions(stories):
    model = fitted(inputs=[frozen_input(stories)])
    calls = []
    model.module.encoders[0].register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        model.losses(model.encode(TABLE), np.arange(ROWS))
        model.predict(model.encode_inputs(TABLE))
    assert len(calls) == 1


def test_tied_inputs_share_words_and_weights():
    table = pd.DataFrame({"a": ["x y", "y"], "b": ["z y", "x z"], "same": [0.5, 1.5]})
    inputs = [
        {"name": "b", "type": "text", "tied": "a"},
        {"name": "a", "type": "text", "encoder": {"type": "tf_idf", "character_ngram_size": 0, "ngram_size": 1}},
    ]
    outputs = [{"name": "same", "type": "number"}]
    model = fitted(table, inputs=inputs, outputs=outputs, combiner="comparator", entity_1=["a"], entity_2=["b"])
    assert list(model.encoders["a"].state.words) == ["x", "y", "z"]
    assert len(model.module.encoders) == 1
    swapped = model.encode_inputs(table.rename(columns={"a": "b", "b": "a"}))
    rows = np.arange(2)
    one, other = (model._batch(store, rows) for store in (model.encode_inputs(table), swapped))
    assert torch.equal(one["a"]["ids"], other["b"]["ids"])


def test_tied_categories_share_their_ids():
    table = pd.DataFrame({"start": ["Rome", "Oslo"], "end": ["Lima", "Rome"], "price": [1, 2]})
    inputs = [{"name": "start", "type": "category"}, {"name": "end", "type": "category", "tied": "start"}]
    model = fitted(table, inputs=inputs, outputs=[{"name": "price", "type": "number"}])
    store = model.encode_inputs(table)
    assert store.inputs["start"].tolist() == [1, 3]
    assert store.inputs["end"].tolist() == [2, 1]


@pytest.mark.parametrize("kind", ["tabular", "frozen"])
def test_a_model_survives_saving(kind, stories, tmp_path):
    inputs = INPUTS if kind == "tabular" else [frozen_input(stories), *INPUTS[1:]]
    model = fitted(inputs=inputs)
    train(model, model.encode(TABLE), steps=2)
    model.save(tmp_path)
    restored = make(inputs=inputs).restore(tmp_path, model.states(), device="cpu")
    before, after = (one.predict(one.encode_inputs(TABLE)) for one in (model, restored))
    for name in ("kind", "spam"):
        np.testing.assert_array_equal(before[name].probabilities, after[name].probabilities)
    np.testing.assert_array_equal(before["score"].values, after["score"].values)
    assert restored.importance == model.importance
    sizes = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert sizes < 2_000_000  # The frozen body is not copied.


def test_each_trainable_weight_is_in_one_group_at_the_rate_that_suits_it(stories):
    trained = frozen_input(stories)
    trained["encoder"] = {**trained["encoder"], "trainable": True}
    model = fitted(inputs=[trained, INPUTS[1]])
    groups = model.parameter_groups("auto")
    grouped = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(grouped) == sorted(id(w) for w in model.module.parameters() if w.requires_grad)
    assert {group["lr"] for group in groups} == {2e-5, 1e-3}
    assert {group["lr"] for group in model.parameter_groups(5e-5)} == {5e-5, 1e-3}


def test_a_linear_head_on_frozen_vectors_learns_fast(stories):
    model = fitted(inputs=[frozen_input(stories)])
    assert {group["lr"] for group in model.parameter_groups("auto")} == {1e-2}
    assert {group["lr"] for group in model.parameter_groups(0.5)} == {0.5}


def test_the_same_seed_makes_the_same_weights_and_disturbs_no_other_randomness():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = fitted(seed=3).module.state_dict()
    assert torch.equal(torch.rand(1), expected)
    second, other = fitted(seed=3).module.state_dict(), fitted(seed=4).module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_rows_that_reach_the_length_of_an_encoder_are_counted():
    inputs = [{"name": "text", "type": "text", "encoder": "embed", "preprocessing": {"max_sequence_length": 5}}]
    model = fitted(inputs=inputs)
    assert model.overlong(model.encode(TABLE), ROWS) == [
        "38 of 48 rows of 'text' reach 5 tokens; what is beyond is cut"
    ]
    assert fitted().overlong(model.encode(TABLE), ROWS) == []


def test_a_missing_column_is_an_error():
    with pytest.raises(DataError, match="city"):
        make().fit(TABLE.drop(columns=["city"]), seed=0, folder=None)
