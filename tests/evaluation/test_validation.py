"""Which number decides, and that it is measured whatever else a config asks for."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from declarlm import ConfigError, DeclarLM
from declarlm.core.errors import OutOfMemoryError
from declarlm.evaluation import Validation, mean_losses
from declarlm.evaluation.validation import deciding_metric

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 3, "y": ["a", "b", "a", "b"] * 3, "z": [1.0, 2.0, 3.0, 4.0] * 3})
OUTPUTS = [{"name": "y", "type": "category"}, {"name": "z", "type": "number"}]


def validation(outputs: list[dict[str, Any]] = OUTPUTS, **trainer: Any) -> Validation:
    config = {"model_type": "ecd", "input_features": [{"name": "x", "type": "number"}], "output_features": outputs}
    declared = DeclarLM({**config, "trainer": trainer}, device="cpu")
    model = declared.config.build().fit(ROWS, seed=0, folder=Path())
    model.build(total_steps=1, seed=0, device="cpu")
    return Validation(model, model.encode(ROWS), ROWS, declared.config.trainer, declared._predict_raw)


def test_the_deciding_metric_is_measured_even_if_no_output_names_it():
    judge = validation([{**OUTPUTS[0], "metrics": ["f1_macro"]}])
    assert judge.metric == "y.accuracy"
    assert list(judge()) == ["loss", "y.accuracy", "y.f1_macro", "y.loss"]


def test_metrics_keep_the_name_that_was_asked_for():
    judge = validation([{**OUTPUTS[0], "metrics": ["accuracy_macro"]}], validation_metric="accuracy_micro")
    assert list(judge()) == ["loss", "y.accuracy_micro", "y.accuracy_macro", "y.loss"]


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, "loss"),
        ({"validation_metric": "loss"}, "loss"),
        ({"validation_field": "combined", "validation_metric": "loss"}, "loss"),
        ({"validation_field": "z", "validation_metric": "loss"}, "z.loss"),
        ({"validation_metric": "z.loss"}, "z.loss"),
        ({"validation_field": "y"}, "y.accuracy"),
    ],
)
def test_the_loss_of_all_outputs_or_of_one_can_decide(trainer: dict[str, str], expected: str):
    judge = validation(**trainer)
    assert judge.metric == expected
    assert expected in judge()


def test_the_loss_is_that_of_each_output_and_their_weighted_sum():
    judge = validation([OUTPUTS[0], {**OUTPUTS[1], "loss": {"weight": 0.5}}])
    found = judge()
    assert found["loss"] == pytest.approx(found["y.loss"] + 0.5 * found["z.loss"])
    assert found["y.loss"] == pytest.approx(found["y.log_loss"])


def test_perplexity_of_what_is_no_text_is_refused():
    with pytest.raises(ConfigError, match="no category metric is named 'perplexity'"):
        validation(validation_field="y", validation_metric="perplexity")


def test_pretraining_is_decided_by_loss_or_perplexity():
    config = DeclarLM(
        {
            "base_model": "starter",
            "input_features": [{"name": "x", "type": "text"}],
            "trainer": {"type": "pretrain", "validation_metric": "perplexity"},
        }
    ).config.trainer
    assert deciding_metric([], config) == ("perplexity", "minimize")
    with pytest.raises(ConfigError, match="without outputs no metric is named 'rouge_l', choose from: loss, perplex"):
        deciding_metric([], config.replace(validation_metric="rouge_l"))


def test_texts_have_a_loss_and_a_perplexity_each(stories):
    outputs = [{"name": "color", "type": "text"}, {"name": "animal", "type": "text", "metrics": ["perplexity"]}]
    config = {"base_model": stories, "input_features": [{"name": "note", "type": "text"}], "output_features": outputs}
    model = DeclarLM({**config, "trainer": {"type": "none"}, "generation": {"max_new_tokens": 1}}, device="cpu")
    rows = pd.DataFrame({"note": ["a red cat", "a dog"], "color": ["red", "none at all"], "animal": ["cat", "dog"]})
    found = model.evaluate(rows).metrics
    assert list(found["animal"]) == ["perplexity", "loss"]
    for name in ("color", "animal"):
        assert found[name]["perplexity"] == pytest.approx(math.exp(found[name]["loss"]))
    built: Any = model._model
    store = built.encode(rows)
    counts = built.own_weights(store, np.arange(2))
    total = sum(counts[name] * found[name]["loss"] for name in counts)
    assert found["combined"]["loss"] == pytest.approx(total / store.supervised.sum())


def test_an_evaluation_halves_its_batches_where_memory_runs_out():
    judge = validation()
    whole = mean_losses(judge.model, judge.store)
    losses = judge.model.losses

    def cramped(store: Any, rows: Any) -> Any:
        if len(rows) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return losses(store, rows)

    judge.model.losses = cramped
    room = 5
    assert mean_losses(judge.model, judge.store)["y"]["loss"] == pytest.approx(whole["y"]["loss"])
    room = 0
    with pytest.raises(OutOfMemoryError, match="a single row of 1 tokens does not fit into the memory of cpu"):
        mean_losses(judge.model, judge.store)


def test_the_rehearsal_is_one_whole_batch_of_the_longest_rows(monkeypatch):
    monkeypatch.setattr("declarlm.evaluation.validation.TOKEN_BUDGET", 7)
    judge = validation()
    seen = []
    losses = judge.model.losses
    judge.model.losses = lambda store, rows: (seen.append(len(rows)), losses(store, rows))[1]
    judge.rehearse()
    assert seen == [7]
