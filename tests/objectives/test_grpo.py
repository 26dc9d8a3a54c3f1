"""Group relative policy optimization: its loss, what it draws, what it learns and what it refuses."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from declarlm import DeclarLM, load_config
from declarlm.core import ConfigError, ModelError
from declarlm.rewards import reward_function
from declarlm.run import open_run
from declarlm.training.group import Alone
from declarlm.training.progress import Silent
from tests.objectives.preference_rows import colour_pairs, config


@reward_function("share_of_early")
def share_of_early(answers: Any, rows: pd.DataFrame) -> list[float]:
    """A reward that answers of any kind differ in."""
    assert list(rows.columns) == ["text", "answer"]
    return [sum(letter in "abcdefghijklm" for letter in answer) / max(1, len(answer)) for answer in answers]


GRPO = {"type": "grpo", "rewards": [{"type": "function", "function": "share_of_early"}], "max_new_tokens": 4}


def rows(count: int = 24) -> pd.DataFrame:
    return colour_pairs(count)[["text", "answer"]]


def started(settings: dict[str, Any], folder: Any) -> tuple[Any, Any, Any]:
    """Model, objective and workload of a training before its first step, with weights that already differ."""
    loaded, table = load_config(settings), rows()
    model, objective = loaded.build(), loaded.trainer.build()
    model.learn(table)
    objective.learn(model, table)
    model.open(table, seed=1, folder=folder)
    store = objective.store(model, table)
    objective.learn_lengths(model, store)
    model.build(total_steps=10, seed=1, device="cpu")
    objective.begin(model, [store, objective.store(model, table[:2])], Alone())
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    return model, objective, objective.workload(model, store)


def token_log_probs(backbone: Any, ids: list[int], answered: int) -> torch.Tensor:
    shares = backbone(input_ids=torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    return shares.gather(1, torch.tensor(ids)[1:, None])[-answered:, 0]


@pytest.mark.parametrize("adapter", [{"type": "lora", "dropout": 0}, None])
@pytest.mark.parametrize("keys", [{}, {"beta": 0.0, "num_generations": 3}, {"beta": 0.5, "epsilon": 0.05}])
def test_the_loss_is_that_of_the_paper(tiny, tmp_path, adapter, keys):
    from transformers import AutoModelForCausalLM

    model, _, workload = started(config(tiny, {**GRPO, **keys}, adapter=adapter), tmp_path)
    chosen, size = np.array([5, 2, 7]), keys.get("num_generations", 4)
    workload.prepare(model.module, chosen, 4000)
    drawn = workload._rollout.drawn
    counts = drawn.counts.tolist()
    ids = [row.tolist() for row in drawn.ids]
    before = [token_log_probs(model.module.backbone, row, count) for row, count in zip(ids, counts, strict=True)]
    # The weights move after the answers were drawn, as they would with several updates.
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.requires_grad:
                weight.add_(0.03 * torch.randn_like(weight))
    base = AutoModelForCausalLM.from_pretrained(tiny)
    beta, epsilon, expected, clipped = keys.get("beta", 0.04), keys.get("epsilon", 0.2), 0.0, 0
    rewards = (
        torch.tensor([sum(letter in "abcdefghijklm" for letter in text) / max(1, len(text)) for text in drawn.texts])
        .double()
        .view(3, size)
    )
    assert [row.std() > 0 for row in rewards].count(True) >= 1, "some group differs"
    for place, row in enumerate(ids):
        group = rewards[place // size]
        advantage = (group[place % size] - group.mean()) / (group.std() if group.std() > 0 else 1)
        now, start = (token_log_probs(one, row, counts[place]) for one in (model.module.backbone, base))
        ratio = (now - before[place]).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage)
        clipped += int((gain != ratio * advantage).sum())
        divergence = (start - now).exp() - (start - now) - 1
        expected += (-(gain - beta * divergence).mean() / size).item()
    found = workload.losses(model.module, chosen)["rewards"].item()
    assert found == pytest.approx(expected, abs=1e-6, rel=1e-6)
    if "epsilon" in keys:
        assert clipped, "the bound makes a difference"
    parts = [workload.losses(model.module, chosen[[place]])["rewards"].item() for place in (2, 0, 1)]
    assert sum(parts) == pytest.approx(found, abs=1e-5), "it does not depend on how the step is cut"


def test_the_answers_are_drawn_from_the_model(tiny, tmp_path):
    model, _, workload = started(config(tiny, GRPO), tmp_path)
    chosen = np.array([1, 4])
    torch.manual_seed(5)
    workload.prepare(model.module, chosen, 4000)
    first = workload._rollout
    workload.prepare(model.module, chosen, 4000)
    second = workload._rollout
    torch.manual_seed(5)
    workload.prepare(model.module, chosen, 40)
    again = workload._rollout
    assert first.drawn.texts == again.drawn.texts, "the seed alone decides, not how much fits into memory"
    assert first.drawn.texts != second.drawn.texts
    assert len(set(first.drawn.texts)) > 4
    assert workload.costs[1] == 4 * max(len(row) for row in list(first.drawn.ids)[:4])


def test_the_reward_rises_and_is_measured_beside_that_of_the_base(tiny, tmp_path):
    settings = config(tiny, {**GRPO, "epochs": 8, "learning_rate": 0.01, "num_generations": 8})
    result = DeclarLM(settings).train(rows(), validation=rows(12), test=rows(12), output=tmp_path, progress=Silent())
    found = result.metrics["test"]["rewards"]
    assert found["mean"] == found["function"]
    assert found["mean"] >= found["base_mean"] + 0.2
    assert result.history["metrics.rewards.mean"].max() == found["mean"], "the best weights are kept"
    assert set(result.history["metrics.rewards.base_mean"]) == {found["base_mean"]}
    answers = result.model.predict(rows(12), generation={"max_new_tokens": 4}).answer_predictions.tolist()
    assert found["mean"] == pytest.approx(np.mean(share_of_early(answers, rows(12))))
    again = DeclarLM.load(result.directory).evaluate(rows(12)).metrics["rewards"]
    assert again == pytest.approx(found, abs=1e-6)
    base = DeclarLM({**settings, "adapter": None, "trainer": {"type": "none"}})
    before = base.predict(rows(12), generation={"max_new_tokens": 4}).answer_predictions.tolist()
    assert found["base_mean"] == pytest.approx(np.mean(share_of_early(before, rows(12))))


def test_resuming_goes_on_as_if_nothing_had_happened(tiny, tmp_path):
    from declarlm.core.errors import RunError

    class Stops(Silent):
        def evaluation(self, evaluation):
            raise RunError("enough")

    settings = config(tiny, {**GRPO, "epochs": 3}, adapter={"type": "lora", "dropout": 0.1})
    whole = DeclarLM(settings).train(rows(), output=tmp_path, name="whole", progress=Silent())
    with pytest.raises(RunError, match="enough"):
        DeclarLM(settings).train(rows(), output=tmp_path, name="stopped", progress=Stops())
    resumed = DeclarLM(settings).train(rows(), resume=tmp_path / "stopped", progress=Silent())
    assert resumed.metrics == whole.metrics
    curves = [
        [line["loss"] for line in open_run(run.directory).metrics() if line["kind"] == "step"]
        for run in (whole, resumed)
    ]
    assert curves[0][-len(curves[1]) :] == curves[1]
    weights = [run.model._ready().module.state_dict() for run in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_answers_that_are_all_alike_teach_nothing(tiny, tmp_path):
    same = {**GRPO, "rewards": [{"type": "length", "max": 1000}], "epochs": 1}
    model, _, workload = started(config(tiny, same), tmp_path)
    workload.prepare(model.module, np.array([0, 1]), 4000)
    assert workload._rollout.advantages.abs().max() == 0
    result = DeclarLM(config(tiny, same)).train(rows(), output=tmp_path, progress=Silent())
    assert result.metrics["test"]["rewards"]["mean"] == 1.0, "and stop no training"


def test_a_trained_run_is_a_reward(tiny, tmp_path):
    judged = pd.DataFrame({"text": ["red", "blue"] * 20, "answer": ["rr", "bb"] * 20, "grade": ["good", "bad"] * 20})
    reads = [{"name": "answer", "type": "text", "encoder": {"type": "tf_idf", "character_ngram_size": 2}}]
    grader = {"model_type": "ecd", "input_features": reads, "output_features": [{"name": "grade", "type": "category"}]}
    run = DeclarLM({**grader, "trainer": {"epochs": 5, "learning_rate": 0.05}}).train(judged, output=tmp_path)
    reward = {"type": "run", "run": str(run.directory), "label": "good"}
    settings = config(tiny, {**GRPO, "rewards": [{**reward, "weight": 2.0}], "train_steps": 2})
    result = DeclarLM(settings).train(rows(), output=tmp_path, progress=Silent())
    model = DeclarLM.load(result.directory)
    found = model.evaluate(rows(6)).metrics["rewards"]
    answers = model.predict(rows(6), generation={"max_new_tokens": 4}).answer_predictions
    expected = run.model.predict(pd.DataFrame({"answer": answers})).grade_probabilities_good.mean()
    assert found["run"] == pytest.approx(expected, abs=1e-6)
    assert found["mean"] == pytest.approx(2 * expected, abs=1e-6)
    wrong = {**GRPO, "rewards": [{**reward, "label": "goood"}]}
    with pytest.raises(ModelError, match=r"no label is named 'goood' \(did you mean 'good'"):
        DeclarLM(config(tiny, wrong)).train(rows(), output=tmp_path)
    wrong = {**GRPO, "rewards": [{**reward, "answer_column": "reply"}]}
    with pytest.raises(ModelError, match="reads no column 'reply'"):
        DeclarLM(config(tiny, wrong)).train(rows(), output=tmp_path)


def test_a_function_that_nobody_registered_is_named_before_the_base_is_read(tiny, tmp_path):
    settings = config(tiny, {**GRPO, "rewards": [{"type": "function", "function": "share_of_earl"}]})
    with pytest.raises(
        ConfigError, match=r"trainer.rewards: no reward function is named 'share_of_earl' \(did you mean"
    ):
        DeclarLM(settings).train(rows(), output=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("scores", "message"),
    [([1.0], "must be a number for each of 4 answers"), ([float("nan")] * 4, "is nan, which is no number")],
)
def test_a_reward_that_is_no_number_is_an_error(tiny, tmp_path, scores, message):
    reward_function("broken")(lambda answers, rows: scores)
    settings = config(tiny, {**GRPO, "rewards": [{"type": "function", "function": "broken"}]})
    with pytest.raises(ModelError, match=message):
        DeclarLM(settings).train(rows(), validation=rows(4), output=tmp_path, progress=Silent())


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"trainer": {**GRPO, "rewards": []}}, "trainer.rewards", "must name at least one reward, such as"),
        (
            {"trainer": {**GRPO, "rewards": [{"type": "regex", "pattern": "("}]}},
            "trainer.rewards[0].pattern",
            "is no regular expression: missing )",
        ),
        (
            {"trainer": {**GRPO, "rewards": [{"type": "length", "min": 5, "max": 3}]}},
            "trainer.rewards[0].min",
            "must be at most max (3), got 5",
        ),
        (
            {"trainer": {**GRPO, "rewards": [{"type": "length"}]}},
            "trainer.rewards[0].max",
            "any length is right without a bound; write min, max or both",
        ),
        (
            {"output_features": [{"name": "answer", "type": "category"}]},
            "output_features[0].type",
            "must be text for trainer.type 'grpo', which rewards written answers, got 'category'",
        ),
        (
            {"base_model": None, "adapter": None, "architecture": {"type": "llama"}},
            "trainer.type",
            "'grpo' needs a base_model that can answer; write finetune first",
        ),
        ({"preprocessing": {"overlong": "drop"}}, "preprocessing.overlong", "drop leaves rows out, which 'grpo' needs"),
        ({"backend": "ray"}, "backend.type", "'grpo' draws answers in one process; write backend: local"),
    ],
)
def test_what_cannot_be_rewarded_is_refused(changes, path, message):
    with pytest.raises(ConfigError) as error:
        load_config({**config("starter", GRPO), **changes})
    assert f"{path}: {message}" in [str(problem)[: len(f"{path}: {message}")] for problem in error.value.problems]
