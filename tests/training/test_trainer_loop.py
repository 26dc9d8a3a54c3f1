"""The loop against hand-written code."""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import Counter, Tokens, assert_same, make_model, make_trainer, weights_of
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from declarlm.adapters import adapters
from declarlm.adapters.base import BoundAdapter
from declarlm.core import RunError
from declarlm.core.files import append_json_line, read_json_lines
from declarlm.training import parameter_groups
from declarlm.training.batches import Order
from declarlm.training.interrupts import StoppedError


def test_steps_equal_a_plain_pytorch_loop(tmp_path: Path):
    trainer = make_trainer(
        tmp_path,
        {
            "epochs": 2,
            "batch_size": 4,
            "gradient_accumulation_steps": 2,
            "learning_rate_scheduler": {"type": "cosine", "warmup_fraction": 0.3},
            "optimizer": {"type": "adamw", "weight_decay": 0.1},
            "gradient_clipping": {"clipglobalnorm": 0.5},
        },
        module=make_model(dropout=0.0),
    )
    list(trainer.fit())

    # The same by hand: 5 steps an epoch of 8 rows in the trainer's order, one row at a time.
    workload, model = Tokens(), make_model(dropout=0.0)
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    for step in range(10):
        warm = (step + 1) / 4
        rate = 0.01 * (warm if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 7)))
        rows = [workload.data[row] for row in trainer.order.rows(step)]
        num_targets = sum(len(row) - 1 for row in rows)
        for row in rows:
            loss = nn.functional.cross_entropy(model(row[:-1]), row[1:], reduction="sum") / num_targets
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
    assert_same(weights_of(trainer.module), weights_of(model), tolerance=1e-6)


@pytest.mark.parametrize("tokens", [1, 13, 30, 10_000])
def test_how_a_step_is_cut_into_micro_batches_does_not_change_it(tmp_path: Path, tokens: int):
    config = {"epochs": 2, "max_tokens_per_micro_batch": tokens}
    trainer = make_trainer(tmp_path / "cut", config, module=make_model(dropout=0.0))
    whole = make_trainer(tmp_path / "whole", {"epochs": 2}, module=make_model(dropout=0.0))
    losses = [evaluation.training_loss for evaluation in trainer.fit()]
    assert losses == pytest.approx([evaluation.training_loss for evaluation in whole.fit()], abs=1e-6)
    assert_same(weights_of(trainer.module), weights_of(whole.module), tolerance=1e-6)


def test_eight_batches_of_one_equal_one_of_eight(tmp_path: Path):
    one = {"batch_size": 1, "gradient_accumulation_steps": 8, "max_tokens_per_micro_batch": 1}
    accumulated = make_trainer(tmp_path / "accumulated", one, module=make_model(dropout=0.0))
    whole = make_trainer(tmp_path / "whole", {"batch_size": 8}, module=make_model(dropout=0.0))
    list(accumulated.fit())
    list(whole.fit())
    assert_same(weights_of(accumulated.module), weights_of(whole.module), tolerance=1e-6)


def test_the_order_is_a_function_of_seed_and_epoch():
    order = Order(10, 4, 3, seed=1, shuffle=True)
    epochs = [[row for step in range(3) for row in order.rows(epoch * 3 + step)] for epoch in range(2)]
    assert [sorted(rows) for rows in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    again = Order(10, 4, 3, seed=1, shuffle=True)
    assert again.rows(4).tolist() == epochs[1][4:8]
    assert Order(10, 4, 3, seed=2, shuffle=True).rows(0).tolist() != epochs[0][:4]
    assert Order(10, 4, 3, seed=1, shuffle=False).rows(5).tolist() == [8, 9]


def test_only_trainable_gradients_count_for_clipping(tmp_path: Path):
    model = make_model(dropout=0.0)
    model[0].weight.requires_grad_(False)
    config = {"gradient_clipping": {"clipglobalnorm": 0.01}, "optimizer": "sgd", "train_steps": 1}
    schedule = {"learning_rate_scheduler": {"type": "constant", "warmup_fraction": 0}}
    before = weights_of(model)
    trainer = make_trainer(tmp_path, {**config, **schedule, "learning_rate": 1.0}, module=model)
    list(trainer.fit())
    moved = [(after - before[name]).norm() for name, after in weights_of(model).items()]
    # One SGD step of rate 1 moves the weights by the clipped gradient itself.
    assert torch.stack(moved).norm().item() == pytest.approx(0.01, rel=1e-4)


def test_gradients_are_clipped_by_weight_and_by_value(tmp_path: Path):
    for clipping in ({"clipnorm": 0.02}, {"clipvalue": 0.001}):
        config = {"optimizer": "sgd", "train_steps": 1, "learning_rate": 1.0}
        config["learning_rate_scheduler"] = {"type": "constant", "warmup_fraction": 0}
        config["gradient_clipping"] = {"clipglobalnorm": None, **clipping}
        before = weights_of(make_model(0.0))
        trainer = make_trainer(tmp_path / next(iter(clipping)), config, module=make_model(0.0))
        list(trainer.fit())
        moved = [after - before[name] for name, after in weights_of(trainer.module).items()]
        norms, values = [move.norm().item() for move in moved], [move.abs().max().item() for move in moved]
        largest = max(norms) if "clipnorm" in clipping else max(values)
        assert largest == pytest.approx(next(iter(clipping.values())), rel=1e-3)


def test_the_extra_loss_of_a_hook_counts_once_a_step(tmp_path: Path):
    class Pull:
        def __init__(self, weight: nn.Parameter) -> None:
            self.weight, self.steps = weight, []

        def extra_loss(self) -> torch.Tensor:
            return 3.0 * self.weight.sum()

        def after_step(self, step: int) -> None:
            self.steps.append((step, self.weight.grad is not None))

        def settled(self) -> bool:
            return True

        def state(self) -> dict[str, torch.Tensor]:
            return {}

        def restore(self, state: dict[str, torch.Tensor]) -> None:
            pass

    model, workload = make_model(), Tokens()
    workload.importance = {"answer": 0.0}
    hook = Pull(model[5].bias)
    config = {"optimizer": "sgd", "train_steps": 2, "learning_rate": 1.0, "gradient_clipping": {"clipglobalnorm": None}}
    config |= {"learning_rate_scheduler": {"type": "constant", "warmup_fraction": 0}, "max_tokens_per_micro_batch": 1}
    before = model[5].bias.clone()
    list(make_trainer(tmp_path, config, module=model, workload=workload, hooks=[hook]).fit())
    torch.testing.assert_close(model[5].bias, before - 6.0)
    assert hook.steps == [(1, True), (2, True)]


def test_training_does_not_depend_on_what_happens_between_evaluations(tmp_path: Path):
    alone = make_trainer(tmp_path / "alone", {"epochs": 2})
    list(alone.fit())
    left, right = make_trainer(tmp_path / "left", {"epochs": 2}), make_trainer(tmp_path / "right", {"epochs": 2})
    for _ in zip(left.fit(), right.fit(), strict=True):
        torch.rand(5)
    assert_same(weights_of(left.module), weights_of(alone.module))
    assert_same(weights_of(right.module), weights_of(alone.module))


def test_the_callers_random_numbers_go_on_as_without_training(tmp_path: Path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    trainer = make_trainer(tmp_path)
    torch.manual_seed(3)
    list(trainer.fit())
    assert torch.equal(torch.rand(2), expected)


def test_evaluations_and_checkpoints_do_not_change_training(tmp_path: Path):
    def draw() -> dict[str, float]:
        return {"loss": float(torch.rand(()) + np.random.rand() + random.random())}

    rare = make_trainer(tmp_path / "rare", {"epochs": 2})
    often = make_trainer(
        tmp_path / "often", {"epochs": 2, "eval_steps": 1, "steps_per_checkpoint": 1, "early_stop": -1}, evaluate=draw
    )
    list(rare.fit())
    for evaluation in often.fit():
        final = weights_of(often.module) if evaluation.step == 10 else None
    assert final is not None
    assert_same(final, weights_of(rare.module))


def test_the_best_weights_are_restored_and_training_stops_early(tmp_path: Path):
    scores = iter([0.5, 0.7, 0.6, float("nan"), 0.7, 0.9])
    kept = {}
    trainer = make_trainer(
        tmp_path,
        {"epochs": 6, "early_stop": 3},
        evaluate=lambda: {"accuracy": next(scores)},
        goal="maximize",
        metric="accuracy",
    )
    best = []
    trainer.hooks = trainer.checkpoints.hooks = [hook := Counter()]
    for evaluation in trainer.fit():
        kept[evaluation.step] = weights_of(trainer.module)
        best.append(evaluation.is_best)
    assert best == [True, True, False, False, False]
    assert_same(weights_of(trainer.module), kept[10])
    assert hook.count.item() == 10
    assert not trainer.module.training


def test_nothing_is_the_best_and_nothing_stops_early_before_the_hooks_are_settled(tmp_path: Path):
    class Late(Counter):
        def settled(self) -> bool:
            return bool(self.count >= 15)

    scores = iter([0.9, 0.8, 0.7, 0.5, 0.6, 0.3, 0.2, 0.1])
    trainer = make_trainer(
        tmp_path,
        {"epochs": 8, "early_stop": 2},
        evaluate=lambda: {"accuracy": next(scores)},
        goal="maximize",
        metric="accuracy",
        hooks=[Late()],
    )
    assert [evaluation.is_best for evaluation in trainer.fit()] == [False, False, True, False, False]
    assert trainer.state.best_step == 15


def test_adalora_ends_at_its_budget_though_an_earlier_evaluation_was_better(tmp_path: Path):
    class Rows(Tokens):
        def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, torch.Tensor]:
            return super().losses(lambda ids: module(input_ids=ids).logits, rows)  # type: ignore[arg-type]

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    base = LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape)).requires_grad_(False)
    adapter = adapters["adalora"].Config(r=2).build()
    module = adapter.attach(base, total_steps=40, seed=0)
    scores = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    trainer = make_trainer(
        tmp_path,
        {"train_steps": 40, "eval_steps": 5, "early_stop": 1},
        module=module,
        workload=Rows(),
        parameter_groups=adapter.parameter_groups(module, 1e-2),
        evaluate=lambda: {"accuracy": next(scores)},
        goal="maximize",
        metric="accuracy",
        hooks=[BoundAdapter(adapter, module)],
    )
    assert [evaluation.step for evaluation in trainer.fit()] == [5, 10, 15, 20, 25, 30, 35]
    assert trainer.state.best_step == 30
    ranks = [int((weight != 0).sum()) for name, weight in module.named_parameters() if ".lora_E." in name]
    assert sum(ranks) == 2 * len(ranks)


def test_an_unknown_metric_is_an_error_that_names_the_known(tmp_path: Path):
    trainer = make_trainer(tmp_path, evaluate=lambda: {"loss": 1.0, "accuracy": 0.5}, metric="f1")
    with pytest.raises(RunError) as caught:
        list(trainer.fit())
    assert str(caught.value) == "no metric is named 'f1', choose from: accuracy, loss"


def test_a_weight_in_no_group_is_an_error(tmp_path: Path):
    model = make_model()
    with pytest.raises(RunError) as caught:
        make_trainer(tmp_path, module=model, parameter_groups=[{"params": list(model[2:].parameters()), "lr": 0.1}])
    assert str(caught.value) == "each trainable weight must be in exactly one parameter group: 0.weight"


def test_a_weight_that_would_train_in_bfloat16_is_an_error(tmp_path: Path):
    module = make_model()
    module[5].to(torch.bfloat16)
    with pytest.raises(RunError) as caught:
        make_trainer(tmp_path, module=module)
    assert str(caught.value) == (
        "weight 5.weight would train as bfloat16, which rounds small updates away: trained weights must be float32; "
        "trainer.precision: bf16 gives the speed of bfloat16"
    )


def test_biases_and_norms_do_not_decay():
    groups = parameter_groups(make_model(), 0.1)
    assert [(len(group["params"]), group.get("weight_decay")) for group in groups] == [(3, None), (4, 0.0)]


def test_metrics_are_written_and_cut_back_on_resume(tmp_path: Path):
    trainer = make_trainer(tmp_path, {"epochs": 2})
    fit = trainer.fit()
    next(fit)
    fit.close()
    append_json_line(tmp_path / "metrics.jsonl", {"kind": "step", "step": 6})
    list(make_trainer(tmp_path, {"epochs": 2}).fit(resume=True))
    lines = read_json_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(1, 11))
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == [5, 10]
    assert lines[0].keys() == {"kind", "step", "epoch", "loss", "learning_rate", "gradient_norm", "tokens_per_second"}
    assert list((tmp_path / "events").iterdir())


@pytest.mark.parametrize(
    ("config", "seconds", "expected"),
    [
        ({"steps_per_checkpoint": 2}, 600, [0, 2, 4, 5, 6, 8, 10]),
        ({"checkpoints_per_epoch": 2}, 600, [0, 3, 5, 8, 10]),
        ({}, 600, [0, 5, 10]),
        ({}, 0, list(range(11))),
    ],
)
def test_checkpoints_are_written_when_they_are_due(tmp_path: Path, monkeypatch, config, seconds, expected):
    monkeypatch.setattr("declarlm.training.trainer.CHECKPOINT_SECONDS", seconds)
    trainer = make_trainer(tmp_path, {"epochs": 2, **config})
    saved = []
    write = trainer.checkpoints.write
    monkeypatch.setattr(
        trainer.checkpoints, "write", lambda path, *rest: saved.append(int(path.name[5:])) or write(path, *rest)
    )
    list(trainer.fit())
    assert saved == expected


def test_an_evaluation_that_was_interrupted_is_made_up_for(tmp_path: Path):
    def interrupted() -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(StoppedError):
        list(make_trainer(tmp_path, {"epochs": 2}, evaluate=interrupted).fit())
    resumed = make_trainer(tmp_path, {"epochs": 2}, evaluate=lambda: {"loss": 1.0})
    assert [evaluation.step for evaluation in resumed.fit(resume=True)] == [5, 10]


def test_a_finished_run_that_is_resumed_ends_at_once_with_its_best_weights(tmp_path: Path):
    losses = iter([1.0, 2.0])
    first = make_trainer(tmp_path, {"epochs": 2}, evaluate=lambda: {"loss": next(losses)})
    list(first.fit())
    again = make_trainer(tmp_path, {"epochs": 2}, evaluate=lambda: {"loss": next(losses)})
    assert list(again.fit(resume=True)) == []
    assert_same(weights_of(again.module), weights_of(first.module))
