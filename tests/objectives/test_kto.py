"""Kahneman-Tversky optimization: its loss, its baseline, what it learns and what it measures."""

import numpy as np
import pytest
import torch

from declarlm import DataError, DeclarLM, load_config
from declarlm.core import ConfigError
from declarlm.objectives.figures import share_of_all
from declarlm.run import open_run
from declarlm.training.progress import Silent
from tests.objectives.preference_rows import colour_pairs, config, intents, judged, plain_log_probs, started

KTO = {"type": "kto", "label_column": "good"}


def formula(policy, before, good, *, beta=0.1, desirable=1.0, undesirable=1.0):
    """Equation 8 of the paper; the second column is the answer of another row."""
    gains = policy - before
    baseline = gains[:, 1].mean().clamp(min=0).detach()
    losses = [
        desirable * (1 - 1 / (1 + torch.exp(-beta * (gain - baseline))))
        if label
        else undesirable * (1 - 1 / (1 + torch.exp(-beta * (baseline - gain))))
        for gain, label in zip(gains[:, 0], good, strict=True)
    ]
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("budget", "shift"), [(40, 3.0), (4000, 3.0), (4000, 0.0)])
@pytest.mark.parametrize("keys", [{}, {"beta": 0.7, "desirable_weight": 1.5, "undesirable_weight": 0.5}])
def test_the_loss_is_that_of_the_paper(tiny, tmp_path, keys, budget, shift):
    from transformers import AutoModelForCausalLM

    table = judged(colour_pairs(8))
    model, objective, store = started(config(tiny, {**KTO, **keys}), table, tmp_path)
    store.reference -= shift  # a reference that knows the answers less well, so that the baseline is above 0
    rows, workload = np.arange(16), objective.workload(model, store)
    workload.prepare(model.module, rows, budget)
    found = workload.losses(model.module, rows)["preferences"] / 16
    backbone, places = model.module.backbone, rows.tolist()
    before = plain_log_probs(AutoModelForCausalLM.from_pretrained(tiny), store, places) - shift
    policy = plain_log_probs(backbone, store, places)
    names = {"beta": "beta", "desirable_weight": "desirable", "undesirable_weight": "undesirable"}
    given = {names[key]: value for key, value in keys.items()}
    assert (workload._told > 0) == (shift > 0)
    assert found.item() == pytest.approx(formula(policy, before, table.good, **given).item(), abs=1e-6, rel=1e-6)
    measured = objective.measure(model, store)["combined"]["loss"]
    assert measured == pytest.approx(found.item(), abs=1e-6), "an evaluation has the loss of one step of all rows"


def test_the_answer_of_another_row_follows_the_same_prompt(tiny, tmp_path):
    table = judged(colour_pairs(8))
    _, _, store = started(config(tiny, KTO), table, tmp_path)
    for row in range(16):
        own, other = ([store.tokens.ids[2 * row + which], store.tokens.roles[2 * row + which]] for which in (0, 1))
        assert own[0][own[1] == 0].tolist() == other[0][other[1] == 0].tolist()
    assert len({store.tokens.ids[2 * row + 1].tobytes() for row in range(16)}) > 4
    assert store.good.tolist() == table.good.tolist()


def test_the_step_does_not_depend_on_how_it_is_cut(tiny, tmp_path):
    curves = []
    for budget in (40, 4000):
        trainer = {**KTO, "max_tokens_per_micro_batch": budget}
        table = judged(colour_pairs(24))
        run = DeclarLM(config(tiny, trainer)).train(table, output=tmp_path, progress=Silent())
        curves.append([line["loss"] for line in open_run(run.directory).metrics() if line["kind"] == "step"])
    assert curves[0] == pytest.approx(curves[1], abs=2e-6)
    assert curves[0][0] == pytest.approx(0.5, abs=1e-6), "it starts from its reference"


def test_good_answers_are_told_from_bad_ones(tiny, tmp_path):
    pairs = colour_pairs(40).assign(answer="red", rejected="blue")
    train, test = judged(pairs[:30]), judged(pairs[30:])
    settings = config(tiny, {**KTO, "epochs": 4, "learning_rate": 0.01})
    result = DeclarLM(settings).train(train, test=test, validation=test, output=tmp_path)
    found = result.metrics["test"]["preferences"]
    assert found["accuracy"] >= 0.8
    assert found["paired_accuracy"] >= 0.8
    assert found["base_accuracy"] == 0.5
    again = DeclarLM.load(result.directory).evaluate(test).metrics
    assert again["preferences"] == pytest.approx(found, abs=1e-4)
    good = DeclarLM.load(result.directory).evaluate(test[test.good]).metrics["answer"]
    assert again["answer"]["exact_match"] == good["exact_match"], "bad answers are no truth"
    assert again["answer"]["loss"] == pytest.approx(good["loss"], abs=1e-5)


def test_the_share_is_that_of_the_area_under_the_curve():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    numbers, good = random.integers(0, 6, 50).astype(float), random.random(50) < 0.4
    assert share_of_all(numbers, good) == pytest.approx(roc_auc_score(good, numbers))
    assert np.isnan(share_of_all(numbers, good | True))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "column 'good', row 3: is missing; write true for a good answer, false for a bad one"),
        ("so so", "column 'good', row 3: 'so so' is neither true nor false; write true for a good answer, false for"),
    ],
)
def test_a_label_that_is_none_is_an_error(tiny, tmp_path, value, message):
    table = judged(colour_pairs(8)).astype({"good": object})
    table.loc[3, "good"] = value
    with pytest.raises(DataError, match=message):
        DeclarLM(config(tiny, KTO)).train(table, output=tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_labels_of_one_kind_are_an_error(tiny, tmp_path):
    table = judged(colour_pairs(8)).assign(good="yes")
    with pytest.raises(DataError, match="column 'good': is true in every training row; both are needed"):
        DeclarLM(config(tiny, KTO)).train(table, output=tmp_path)


def test_a_label_that_is_an_input_is_refused():
    with pytest.raises(ConfigError, match=r"trainer.label_column: 'text' is also the column of a feature"):
        load_config(config("starter", {**KTO, "label_column": "text"}))


@pytest.mark.slow
def test_the_starter_learns_to_prefer_right_intents(shared, tmp_path):
    train, test = (judged(intents(shared, part, size)) for part, size in (("train", 400), ("test", 150)))
    settings = config("starter", {**KTO, "learning_rate": "auto", "epochs": 3, "batch_size": "auto"})
    settings["prompt"] = {"template": "Request: {{ text }}\nIntent:"}
    found = DeclarLM(settings).train(train, test=test, output=tmp_path).metrics["test"]["preferences"]
    assert found["paired_accuracy"] >= 0.8
    assert found["accuracy"] >= 0.8
    assert found["base_accuracy"] == 0.5
