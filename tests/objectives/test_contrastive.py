"""Contrastive learning: its loss, which texts belong together, what it learns and what it refuses."""

import numpy as np
import pandas as pd
import pytest
import torch

from declarlm import DataError, DeclarLM, load_config
from declarlm.core import ConfigError, ModelError
from declarlm.layers.contrast import contrast_losses, share_nearest
from declarlm.objectives.partners import pairs_of_labels
from declarlm.run import open_run
from declarlm.training.progress import Silent
from tests.small_bases import save_tiny_bert

COLOURS = {"warm": ["red", "good", "food"], "cold": ["white", "bad", "film"], "wet": ["wine", "mat", "sat"]}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("bert"), dropout=0)


def labelled(num_rows=36, seed=0):
    drawn = np.random.default_rng(seed)
    labels = [str(label) for label in np.resize(list(COLOURS), num_rows)]
    texts = [" ".join(["the", *drawn.choice(COLOURS[label], 2), "was"]) for label in labels]
    return pd.DataFrame({"text": texts, "kind": labels})


def paired(num_rows=36):
    words = [word for some in COLOURS.values() for word in some]
    rows = [(f"{a} {b}", f"the {b} {a} was", f"{a} not") for a in words for b in words if a < b]
    return pd.DataFrame(rows[:num_rows], columns=["asked", "answer", "wrong"])


def text(name, bert, tied=None):
    encoder = {"encoder": {"type": "auto_transformer", "pretrained_model_name_or_path": bert, "trainable": True}}
    return {"name": name, "type": "text", **(encoder if tied is None else {"tied": tied})}


def of_labels(bert, **trainer):
    return {
        "input_features": [text("text", bert)],
        "output_features": [{"name": "kind", "type": "category"}],
        "trainer": {"type": "contrastive", "batch_size": 8, "epochs": 2, "precision": "fp32", **trainer},
    }


def of_pairs(bert, third=False, **trainer):
    others = ["answer", "wrong"] if third else ["answer"]
    return {
        "input_features": [text("asked", bert), *(text(name, bert, tied="asked") for name in others)],
        "trainer": {"type": "contrastive", "batch_size": 8, "epochs": 2, "precision": "fp32", **trainer},
    }


def plain_losses(vectors, groups, temperature):
    """The loss a row at a time, in Python."""
    found = []
    for row in range(len(vectors)):
        wrong = [other for other in range(len(vectors)) if other != row and groups[other] != groups[row]]
        scores = [float(vectors[row, 0] @ vectors[row, 1])] + [float(vectors[row, 0] @ vectors[o, 1]) for o in wrong]
        scores += [
            float(vectors[row, 0] @ vectors[o, side])
            for o in range(len(vectors))
            for side in range(2, vectors.shape[1])
        ]
        shares = np.exp(np.array(scores) / temperature)
        found.append(-np.log(shares[0] / shares.sum()))
    return found


@pytest.mark.parametrize("texts", [2, 3])
def test_the_loss_is_the_cross_entropy_of_the_partner(texts):
    vectors = torch.nn.functional.normalize(
        torch.randn(6, texts, 5, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    groups = torch.tensor([0, 1, 0, 2, 3, 1])
    found = contrast_losses(vectors, groups, 0.2)
    assert found.tolist() == pytest.approx(plain_losses(vectors.double(), groups.tolist(), 0.2), abs=1e-6)


def test_the_nearest_text_is_found_in_blocks_as_at_once():
    drawn = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(50, 4, generator=drawn), dim=-1)
    kinds = torch.randint(0, 3, (50,), generator=drawn)
    scores = (vectors @ vectors.T).fill_diagonal_(-9)
    wanted = (kinds[scores.argmax(1)] == kinds).double().mean().item()
    assert share_nearest(vectors, vectors, kinds, same=True, block=7) == pytest.approx(wanted)
    assert share_nearest(vectors, vectors, torch.arange(50), same=False, block=7) == 1.0


def test_pairs_have_one_label_and_two_rows():
    labels = np.array([0, 0, 0, 1, 1, 2])
    pairs = pairs_of_labels(labels, 2)
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    assert np.bincount(pairs[:, 0], minlength=6).tolist() == [2, 2, 2, 1, 1, 0]
    assert len(pairs_of_labels(np.zeros(300, dtype=int), None)) == 6 * 300
    assert len(pairs_of_labels(np.arange(5), None)) == 0


@pytest.mark.parametrize("settings", ["labels", "pairs", "triples"])
def test_the_step_does_not_depend_on_how_it_is_cut(bert, tmp_path, settings):
    made = {"labels": of_labels, "pairs": of_pairs, "triples": lambda *a, **k: of_pairs(*a, third=True, **k)}[settings]
    table = labelled() if settings == "labels" else paired()
    curves = []
    for budget in (24, 4000):
        run = DeclarLM(made(bert, max_tokens_per_micro_batch=budget)).train(table, output=tmp_path, progress=Silent())
        curves.append([line["loss"] for line in open_run(run.directory).metrics() if line["kind"] == "step"])
    assert curves[0] == pytest.approx(curves[1], abs=2e-4)
    assert curves[0][-1] < curves[0][0]


def test_the_gradient_is_that_of_the_loss_of_the_whole_step(bert, tmp_path):
    loaded = load_config(of_pairs(bert, third=True))
    model, objective, table = loaded.build(), loaded.trainer.build(), paired(12)
    model.fit(table, seed=1, folder=tmp_path)
    store = objective.store(model, table)
    model.build(total_steps=10, seed=1, device="cpu")
    model.module.eval()
    rows, workload = np.arange(12), objective.workload(model, store)
    workload.prepare(model.module, rows, 20)
    total = sum(workload.losses(model.module, some)["contrast"] for some in (rows[:5], rows[5:]))
    total.backward()
    weights = {name: weight for name, weight in model.module.named_parameters() if weight.grad is not None}
    found = {name: weight.grad.clone() for name, weight in weights.items()}
    from declarlm.models.contrasts import text_vectors

    vectors = torch.nn.functional.normalize(text_vectors(model, store, rows), dim=-1)
    whole = contrast_losses(vectors, torch.from_numpy(store.groups(rows)), 0.05).sum()
    wanted = torch.autograd.grad(whole, list(weights.values()))
    assert total.item() == pytest.approx(whole.item(), rel=1e-5)
    for (name, own), other in zip(found.items(), wanted, strict=True):
        assert torch.allclose(own, other, atol=1e-4, rtol=1e-3), name


def test_few_labelled_texts_are_told_apart(bert, tmp_path):
    settings = of_labels(bert, epochs=4, learning_rate=0.002)
    model = DeclarLM(settings)
    result = model.train(
        labelled(24), validation=labelled(12, 2), test=labelled(30, 1), output=tmp_path, progress=Silent()
    )
    assert result.metrics["test"]["kind"]["accuracy"] >= 0.9
    assert result.metrics["test"]["contrast"]["accuracy"] >= 0.9
    loaded = DeclarLM.load(result.directory)
    some = labelled(9, 3)
    assert loaded.predict(some)["kind_predictions"].tolist() == model.predict(some)["kind_predictions"].tolist()
    few = loaded.evaluate(some.head(2))
    assert np.isnan(few.metrics["contrast"]["accuracy"]), "no two rows have the same label"


def test_answers_are_found_by_their_vectors(bert, tmp_path):
    table = paired()
    model = DeclarLM(of_pairs(bert, epochs=12, learning_rate=0.002))
    result = model.train(table, validation=table[::4], test=table[1::4], output=tmp_path, progress=Silent())
    assert result.metrics["test"]["contrast"]["accuracy"] >= 0.8
    asked, answers = model.embed(table[["asked"]]), model.embed(table[["answer"]], feature="answer")
    assert np.linalg.norm(asked, axis=1) == pytest.approx(1, abs=1e-5)
    nearest = (asked @ answers.T).argmax(axis=1)
    assert (nearest == np.arange(len(table))).mean() >= 0.7
    again = DeclarLM.load(result.directory).embed(table[["asked"]])
    assert np.array_equal(again, asked)


def test_an_input_is_embedded_by_name_only_where_it_exists(bert, tmp_path):
    model = DeclarLM(of_labels(bert, epochs=1))
    model.train(labelled(12), validation=labelled(6), output=tmp_path, progress=Silent())
    with pytest.raises(ModelError, match=r"^no input feature is named 'txt' \(did you mean 'text'\?\)"):
        model.embed(labelled(3), feature="txt")
    with pytest.raises(DataError, match="text"):
        model.embed(pd.DataFrame({"other": ["a"]}))


def test_labels_that_all_differ_are_refused(bert, tmp_path):
    table = labelled(6).assign(kind=list("abcdef"))
    with pytest.raises(DataError, match=r"no two of 6 rows have the same label; each part of the rows needs"):
        DeclarLM(of_labels(bert)).train(table, validation=table, output=tmp_path, progress=Silent())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda data: data["output_features"].append({"name": "b", "type": "binary"}),
            "must be one category or binary",
        ),
        (lambda data: data["output_features"][0].update(type="number"), "must be one category or binary"),
        (lambda data: data.pop("output_features"), "must be two texts that belong together"),
        (lambda data: data["input_features"][0]["encoder"].update(trainable=False), "has no weights that train; write"),
        (lambda data: data["input_features"][0].pop("encoder"), "'tf_idf' has no weights that train; write a transf"),
        (lambda data: data["input_features"][0].update(type="category", encoder="dense"), "must be text for"),
        (lambda data: data["input_features"].append({"name": "n", "type": "text", "tied": "text"}), "is one too many"),
        (lambda data: data["trainer"].update(temperature=0), "temperature"),
    ],
)
def test_what_does_not_say_which_texts_belong_together_is_refused(bert, change, told):
    data = of_labels(bert)
    change(data)
    with pytest.raises(ConfigError) as error:
        load_config(data)
    assert told in str(error.value)


def test_a_language_model_is_refused_in_one_line():
    data = {"base_model": "starter", "input_features": [{"name": "a", "type": "text"}]}
    data |= {"output_features": [{"name": "b", "type": "category"}], "trainer": {"type": "contrastive"}}
    with pytest.raises(ConfigError) as error:
        load_config(data)
    assert [str(problem.message) for problem in error.value.problems] == ["'contrastive' is not for model_type 'llm'"]


def test_pairs_need_one_encoder_and_no_keys_of_labels(bert):
    data = of_pairs(bert, pairs_per_row=3)
    data["input_features"][1].pop("tied")
    with pytest.raises(ConfigError) as error:
        load_config(data)
    assert "input_features[1].tied" in str(error.value)
    assert "must be asked, so that one encoder gives" in str(error.value)
    assert "trainer.pairs_per_row" in str(error.value)
