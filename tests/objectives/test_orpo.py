"""Odds ratio preference optimization: its loss, what it learns and what it measures."""

import numpy as np
import pytest
import torch

from declarlm import DeclarLM, load_config
from declarlm.layers.preference_losses import log_odds
from declarlm.run import open_run
from declarlm.training.progress import Silent
from tests.objectives.preference_rows import colour_pairs, config, intents, plain_log_probs, started

ORPO = {"type": "orpo", "rejected_column": "rejected"}


def test_the_odds_are_those_of_the_definition_also_where_they_are_extreme():
    shares = torch.tensor([0.999999, 0.9, 0.5, 0.1, 1e-12], dtype=torch.float64)
    expected = (shares / (1 - shares)).log()
    assert log_odds(shares.log()).tolist() == pytest.approx(expected.tolist(), rel=1e-9)
    extreme = torch.tensor([0.0, -1e-9, -800.0], requires_grad=True)
    odds = log_odds(extreme)
    odds.sum().backward()
    assert odds.isfinite().all()
    assert extreme.grad.isfinite().all()


def test_the_loss_is_that_of_the_paper(tiny, tmp_path):
    model, objective, store = started(config(tiny, {**ORPO, "beta": 0.3}), colour_pairs(12), tmp_path)
    rows = np.arange(12)
    workload = objective.workload(model, store)
    found, weights = workload.losses(model.module, rows), workload.weights(rows)
    total = sum(workload.importance[name] * loss.item() / weights[name] for name, loss in found.items())
    plain, lengths = plain_log_probs(model.module.backbone, store, rows.tolist()), torch.tensor(store.num_answered)
    shares = (plain / lengths).exp()
    odds = shares / (1 - shares)
    ratio = (odds[:, 0] / odds[:, 1]).log()
    expected = -plain[:, 0].sum() / lengths[:, 0].sum() - 0.3 * torch.sigmoid(ratio).log().mean()
    assert total == pytest.approx(expected.item(), abs=1e-6, rel=1e-6)


def test_the_step_does_not_depend_on_how_it_is_cut(tiny, tmp_path):
    curves = []
    for budget in (40, 4000):
        trainer = {**ORPO, "max_tokens_per_micro_batch": budget}
        run = DeclarLM(config(tiny, trainer)).train(colour_pairs(), output=tmp_path, progress=Silent())
        curves.append([line["loss"] for line in open_run(run.directory).metrics() if line["kind"] == "step"])
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def test_answers_are_learned_and_told_apart(tiny, tmp_path):
    pairs = colour_pairs(60)
    for adapter in ({"type": "lora"}, None):
        settings = config(tiny, {**ORPO, "epochs": 20, "learning_rate": 0.01, "beta": 0.5}, adapter=adapter)
        result = DeclarLM(settings).train(pairs[:40], test=pairs[40:], validation=pairs[40:], output=tmp_path)
        found = result.metrics["test"]["preferences"]
        assert found["accuracy"] >= 0.8
        assert found["accuracy"] > found["base_accuracy"]
        assert found["likelier"] == found["accuracy"], "the reward is the mean log-probability"
        again = DeclarLM.load(result.directory).evaluate(pairs[40:]).metrics
        assert again["preferences"] == pytest.approx(found, abs=1e-4)
        answers = result.history["metrics.answer.loss"]
        assert answers.iloc[-1] < answers.iloc[0]


def test_the_rate_follows_the_objective():
    auto = {**ORPO, "learning_rate": "auto"}
    assert load_config(config("starter", auto)).trainer.learning_rate == pytest.approx(2e-4)
    assert load_config(config("starter", auto, adapter=None)).trainer.learning_rate == pytest.approx(8e-6)


@pytest.mark.slow
def test_the_starter_learns_to_prefer_right_intents(shared, tmp_path):
    train, test = intents(shared, "train", 600), intents(shared, "test", 200)
    settings = config("starter", {**ORPO, "learning_rate": "auto", "epochs": 3, "batch_size": "auto"})
    settings["prompt"] = {"template": "Request: {{ text }}\nIntent:"}
    found = DeclarLM(settings).train(train, test=test, output=tmp_path).metrics["test"]
    assert found["preferences"]["accuracy"] >= 0.8
    assert found["preferences"]["accuracy"] >= found["preferences"]["base_accuracy"] + 0.1
