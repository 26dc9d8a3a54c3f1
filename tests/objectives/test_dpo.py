"""Direct preference optimization: its losses, its reference, what it learns and what it measures."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from declarlm import DataError, DeclarLM, load_config
from declarlm.core import ConfigError
from declarlm.objectives.scoring import refer, score_pairs
from declarlm.run import open_run
from declarlm.training.progress import Silent
from tests.objectives.preference_rows import colour_pairs, config, intents, plain_log_probs, started

DPO = {"type": "dpo", "rejected_column": "rejected"}


def formula(policy: torch.Tensor, before: torch.Tensor, lengths: torch.Tensor, **key: Any) -> torch.Tensor:
    """The losses of equations 7 (DPO), 17 (IPO, of means) and 10 (SLiC) of the papers, written out."""
    beta, smoothing = key.get("beta", 0.1), key.get("label_smoothing", 0.0)
    if key.get("loss_type") == "ipo":
        policy, before = policy / lengths, before / lengths
    difference = (policy[:, 0] - before[:, 0]) - (policy[:, 1] - before[:, 1])
    if key.get("loss_type") == "ipo":
        return ((difference - 1 / (2 * beta)) ** 2).mean()
    if key.get("loss_type") == "hinge":
        return (1 - beta * difference).clamp(min=0).mean()
    share = 1 / (1 + torch.exp(-beta * difference))
    return (-(1 - smoothing) * share.log() - smoothing * (1 - share).log()).mean()


@pytest.mark.parametrize("adapter", [{"type": "lora", "dropout": 0}, None])
@pytest.mark.parametrize(
    "keys", [{}, {"beta": 0.5, "label_smoothing": 0.1}, {"loss_type": "ipo"}, {"loss_type": "hinge", "beta": 0.3}]
)
def test_the_loss_is_that_of_the_papers(tiny, tmp_path, keys, adapter):
    from transformers import AutoModelForCausalLM

    settings = config(tiny, {**DPO, **keys}, adapter=adapter)
    model, objective, store = started(settings, colour_pairs(12), tmp_path)
    rows = np.arange(12)
    found = objective.workload(model, store).losses(model.module, rows)["preferences"] / 12
    base = AutoModelForCausalLM.from_pretrained(tiny)
    lengths = torch.tensor(store.num_answered)
    before = plain_log_probs(base, store, rows.tolist())
    expected = formula(plain_log_probs(model.module.backbone, store, rows.tolist()), before, lengths, **keys)
    assert store.reference == pytest.approx(before.detach().numpy(), abs=1e-4)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6, rel=1e-6)
    assert abs(found.item() - formula(before, before, lengths, **keys).item()) > 1e-3, "the weights make a difference"


def test_the_step_does_not_depend_on_how_it_is_cut(tiny, tmp_path):
    curves = []
    for budget in (40, 4000):
        trainer = {**DPO, "max_tokens_per_micro_batch": budget}
        run = DeclarLM(config(tiny, trainer)).train(colour_pairs(), output=tmp_path, progress=Silent())
        curves.append([line["loss"] for line in open_run(run.directory).metrics() if line["kind"] == "step"])
    assert curves[0] == pytest.approx(curves[1], abs=2e-6)
    assert curves[0][0] == pytest.approx(np.log(2), abs=1e-6), "it starts from its reference"
    assert len({round(loss, 4) for loss in curves[0]}) > 5, "and leaves it"


def test_what_a_loaded_run_measures_is_what_training_measured(tiny, tmp_path):
    pairs = colour_pairs(60)
    for adapter in ({"type": "lora"}, None):
        settings = config(tiny, {**DPO, "epochs": 8}, adapter=adapter)
        result = DeclarLM(settings).train(pairs[:40], test=pairs[40:], validation=pairs[40:], output=tmp_path)
        found = result.metrics["test"]["preferences"]
        assert found["accuracy"] >= 0.8
        assert found["base_accuracy"] == 0.5, "a model that is its own reference prefers nothing"
        assert found["margin"] > 0
        assert result.history["metrics.preferences.accuracy"].max() == found["accuracy"]
        again = DeclarLM.load(result.directory).evaluate(pairs[40:]).metrics
        assert again["preferences"] == pytest.approx(found, abs=1e-4)
        assert again["combined"] == pytest.approx(result.metrics["test"]["combined"], abs=1e-4)
        assert len(result.model.predict(pairs[:2])) == 2


def test_a_start_from_an_adapter_is_its_own_reference(tiny, tmp_path):
    pairs = colour_pairs()
    finetuned = DeclarLM(config(tiny, {"type": "finetune", "epochs": 4})).train(pairs, output=tmp_path)
    start = {"type": "lora", "dropout": 0, "pretrained_adapter_weights": str(finetuned.directory / "model/adapter")}
    result = DeclarLM(config(tiny, DPO, adapter=start)).train(pairs, output=tmp_path)
    losses = [line["loss"] for line in open_run(result.directory).metrics() if line["kind"] == "step"]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-6)
    again = DeclarLM.load(result.directory)
    model = again._ready()
    store = again.config.trainer.build().store(model, pairs)
    refer(model, store)
    before = plain_log_probs(finetuned.model._ready().module.backbone, store, list(range(48)))
    assert store.reference == pytest.approx(before.detach().numpy(), abs=1e-4)
    assert score_pairs(model.module, store) != pytest.approx(store.reference, abs=1e-2)


def test_resuming_goes_on_as_if_nothing_had_happened(tiny, tmp_path):
    from declarlm.core.errors import RunError

    class Stops(Silent):
        def evaluation(self, evaluation):
            raise RunError("enough")

    pairs, settings = colour_pairs(), config(tiny, {**DPO, "epochs": 3}, adapter={"type": "lora", "dropout": 0.1})
    whole = DeclarLM(settings).train(pairs, output=tmp_path, name="whole", progress=Silent())
    with pytest.raises(RunError, match="enough"):
        DeclarLM(settings).train(pairs, output=tmp_path, name="stopped", progress=Stops())
    resumed = DeclarLM(settings).train(pairs, resume=tmp_path / "stopped", progress=Silent())
    assert resumed.metrics == whole.metrics
    assert list(resumed.history["metrics.loss"]) == list(whole.history["metrics.loss"])


def test_both_answers_of_a_long_row_have_the_same_prompt(tiny, tmp_path):
    words = "the good food was not bad and red wine " * 3
    table = pd.DataFrame(
        {
            "text": ["red", words, words, "blue"],
            "answer": ["red", "good", words, "blue " * 20],
            "rejected": ["blue", words, "bad", "red"],
        }
    )
    loaded = load_config(config(tiny, DPO))
    model, objective = loaded.build(), loaded.trainer.build()
    model.learn(table)
    model.open(table, seed=1, folder=tmp_path)
    store = objective.store(model, table)
    rows = [store.tokens.ids[row].tolist() for row in range(8)]
    roles = [store.tokens.roles[row].tolist() for row in range(8)]
    for chosen, rejected, one, other in zip(rows[::2], rows[1::2], roles[::2], roles[1::2], strict=True):
        assert chosen[: one.count(0)] == rejected[: other.count(0)]
        assert max(len(chosen), len(rejected)) <= 64
    assert store.num_cut == 3
    assert [role[-1] for role in roles] == [2, 2, 2, 1, 1, 2, 1, 2], "an answer that was cut has no end"
    assert [len(row) for row in rows[2:6]].count(64) == 2, "there is room for nothing more"
    told = objective.remarks(model, store, 4)
    assert told == [
        "3 of 4 rows are longer than 64 tokens; both answers got the same shorter prompt, or lost their end"
    ]
    dropping = load_config(config(tiny, DPO, preprocessing={"overlong": "drop"}))
    model = dropping.build()
    model.learn(table)
    model.open(table, seed=1, folder=tmp_path)
    store = objective.store(model, table)
    assert store.kept.tolist() == [0, 1, 2]
    assert objective.remarks(model, store, 4)[1] == "1 of 4 rows are longer than 64 tokens and were dropped"
    assert [len(row) for row in store.single().tokens.ids] == [len(store.tokens.ids[row]) for row in range(6)]
    assert all(roles[-1] == 2 for roles in store.single().tokens.roles), "answers are whole"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("rejected", "column 'rejected', row 5: is missing"),
        ("answer", "column 'answer', row 5: is missing"),
    ],
)
def test_a_missing_answer_is_an_error(tiny, tmp_path, column, message):
    table = colour_pairs()
    table.loc[5, column] = None
    with pytest.raises(DataError, match=message):
        DeclarLM(config(tiny, DPO)).train(table, output=tmp_path)
    dropping = [{"name": "answer", "type": "text", "preprocessing": {"missing_value_strategy": "drop_row"}}]
    result = DeclarLM(config(tiny, {**DPO, "epochs": 1}, output_features=dropping)).train(table, output=tmp_path)
    assert open_run(result.directory).read("data")["dropped"] == {column: 1}
    with pytest.raises(DataError, match="rejected"):
        DeclarLM(config(tiny, DPO)).train(colour_pairs().drop(columns="rejected"), output=tmp_path)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"trainer": {"type": "dpo", "rejected_column": "answer"}},
            "trainer.rejected_column",
            "'answer' is also the column of a feature; name the one beside it",
        ),
        (
            {"trainer": {**DPO, "loss_type": "ipo", "label_smoothing": 0.1}},
            "trainer.label_smoothing",
            "has no effect on loss_type 'ipo'; leave it out",
        ),
        (
            {"output_features": [{"name": "answer", "type": "text"}, {"name": "b", "type": "text"}]},
            "output_features[1]",
            "trainer.type 'dpo' compares answers in one column",
        ),
        (
            {"base_model": None, "adapter": None, "architecture": {"type": "llama"}},
            "trainer.type",
            "'dpo' needs a base_model that can answer; write finetune first",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, path, message):
    with pytest.raises(ConfigError) as error:
        load_config({**config("starter", DPO), **changes})
    assert [str(problem) for problem in error.value.problems] == [f"{path}: {message}"]


def test_pairs_of_equal_answers_in_every_row_are_an_error(tiny, tmp_path):
    table = colour_pairs()
    with pytest.raises(
        DataError, match=r"^column 'rejected': is the same as 'answer' in every training row; write the"
    ):
        DeclarLM(config(tiny, DPO)).train(table.assign(rejected=table["answer"]), output=tmp_path)


def test_the_rate_follows_the_objective():
    auto = {**DPO, "learning_rate": "auto"}
    assert load_config(config("starter", auto)).trainer.learning_rate == pytest.approx(1e-4)
    assert load_config(config("starter", auto, adapter=None)).trainer.learning_rate == pytest.approx(1e-6)
    assert load_config(config("starter", {"type": "finetune", "learning_rate": "auto"})).trainer.learning_rate == 2e-4


def test_a_search_over_beta_compares_by_preferences(tiny, tmp_path):
    search = {
        "parameters": {"trainer.beta": {"space": "choice", "categories": [0.05, 0.5]}},
        "executor": {"num_samples": 2},
    }
    settings = config(tiny, {**DPO, "epochs": 1}, hyperopt=search)
    result = DeclarLM(settings).hyperopt(colour_pairs(), output=tmp_path)
    assert set(result.trials["trainer.beta"]) <= {0.05, 0.5}
    assert result.best.model.config.trainer.beta == result.values["trainer.beta"]


@pytest.mark.slow
def test_the_starter_learns_to_prefer_right_intents(shared, tmp_path):
    train, test = intents(shared, "train", 600), intents(shared, "test", 200)
    settings = config("starter", {**DPO, "learning_rate": "auto", "epochs": 3, "batch_size": "auto"})
    settings["prompt"] = {"template": "Request: {{ text }}\nIntent:"}
    found = DeclarLM(settings).train(train, test=test, output=tmp_path).metrics["test"]
    assert found["preferences"]["accuracy"] >= 0.8
    assert found["preferences"]["base_accuracy"] == 0.5


@pytest.mark.slow
def test_long_answers_run_within_the_context_of_the_starter(shared, tmp_path):
    settings = config("starter", {**DPO, "train_steps": 3, "batch_size": 4})
    settings["input_features"] = [{"name": "prompt", "type": "text"}]
    settings["output_features"] = [{"name": "answer", "column": "chosen", "type": "text"}]
    settings["prompt"] = {"template": "{prompt}\n\n"}
    data = shared / "data" / "dpo_demo"
    train, test = (pd.read_json(data / f"{part}.jsonl", lines=True) for part in ("train", "test"))
    result = DeclarLM(settings).train(train[:60], test=test[:4], output=tmp_path, progress=Silent())
    told = open_run(result.directory).read("data")["remarks"]
    assert any("rows are longer than 512 tokens; both answers got the same shorter prompt" in line for line in told)
    assert np.isfinite(result.metrics["test"]["preferences"]["margin"])


def test_a_training_that_goes_on_compares_with_where_it_began(tiny, tmp_path):
    pairs = colour_pairs()
    for adapter in ({"type": "lora", "dropout": 0}, None):
        first = DeclarLM(config(tiny, {**DPO, "epochs": 4}, adapter=adapter)).train(pairs, output=tmp_path)
        again = DeclarLM.load(first.directory).train(pairs, output=tmp_path, progress=Silent())
        losses = [line["loss"] for line in open_run(again.directory).metrics() if line["kind"] == "step"]
        assert losses[0] == pytest.approx(np.log(2), abs=1e-6)
        assert not (again.directory / "start").exists()
        assert again.metrics["test"]["preferences"]["base_likelier"] == first.metrics["test"]["preferences"]["likelier"]


def test_a_merged_run_compares_with_its_base(tiny, tmp_path):
    pairs = colour_pairs()
    merges = {"type": "lora", "dropout": 0, "postprocessor": {"merge_adapter_into_base_model": True}}
    result = DeclarLM(config(tiny, DPO, adapter=merges)).train(pairs, output=tmp_path, progress=Silent())
    before = result.model.evaluate(pairs).metrics["preferences"]
    after = DeclarLM.load(result.directory).evaluate(pairs).metrics["preferences"]
    assert after["margin"] == pytest.approx(before["margin"], abs=1e-3)
    assert abs(after["margin"]) > 1e-3
