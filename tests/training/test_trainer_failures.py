"""What the trainer does when a step cannot be made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import Counter, Notes, Running, Tokens, assert_same, make_model, make_trainer, weights_of
from torch import Tensor, nn

from declarlm.core import RunError
from declarlm.core.errors import DivergedError, OutOfMemoryError
from declarlm.core.files import read_json_lines


class Poisoned(Tokens):
    """Rows, some of which make the loss infinite or only its gradient NaN."""

    def __init__(self, poison: Mapping[int, str]) -> None:
        super().__init__()
        self.poison = poison

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        losses = dict(super().losses(module, rows))
        kinds = {self.poison[row] for row in rows.tolist() if row in self.poison}
        if "loss" in kinds:
            losses["answer"] = losses["answer"] + torch.inf
        if "gradient" in kinds:
            # The derivative of a square root at zero is infinite, and times zero it is NaN.
            losses["answer"] = losses["answer"] + (0.0 * module[5].bias.sum()).sqrt()
        return losses


class Cramped(Tokens):
    """Memory for so many padded tokens at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.draws = room, 0

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        losses = super().losses(module, rows)
        if int(self.costs[rows].max()) * len(rows) > self.room:
            torch.rand(100)  # The failed attempt must leave no trace in the random states.
            losses["answer"].backward()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return losses


@pytest.mark.parametrize(("kind", "reason"), [("loss", "the loss was inf"), ("gradient", "the gradient was nan")])
def test_a_step_with_a_non_finite_number_is_skipped_and_logged(tmp_path: Path, kind: str, reason: str):
    row = int(make_trainer(tmp_path / "other").order.rows(2)[0])
    notes = Notes()
    trainer = make_trainer(
        tmp_path / "run", {"epochs": 1, "eval_steps": 2}, workload=Poisoned({row: kind}), progress=notes
    )
    fit = trainer.fit()
    next(fit)
    before = weights_of(trainer.module)
    next(fit)
    assert trainer.state.step == 4
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights_of(trainer.module).items())
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(trainer.module).values())
    assert notes.notes == [f"step 3: {reason}, the update was skipped"]
    skipped = [line for line in read_json_lines(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "skipped"]
    assert skipped == [{"kind": "skipped", "step": 3, "epoch": 0.6, "reason": reason}]


def test_five_such_steps_in_a_row_end_training_with_the_last_good_weights(tmp_path: Path):
    order = make_trainer(tmp_path / "other").order
    poison = {int(order.rows(step)[0]): "loss" for step in range(5)}
    trainer = make_trainer(tmp_path / "run", {"epochs": 3}, workload=Poisoned(poison), module=make_model())
    before = weights_of(trainer.module)
    with pytest.raises(DivergedError) as caught:
        list(trainer.fit())
    assert str(caught.value) == (
        "training diverged at step 5: the loss was inf, as in the 4 steps before; the weights from before them are "
        f"in {tmp_path / 'run' / 'checkpoints' / 'step-00000005'}; lower trainer.learning_rate"
    )
    assert_same(weights_of(trainer.module), before)


def test_out_of_memory_halves_the_micro_batches_and_repeats_the_step(tmp_path: Path):
    notes = Notes()
    cramped = make_trainer(tmp_path / "cramped", workload=Cramped(room=50), progress=notes)
    list(cramped.fit())
    # From the start with the budget that was found, the numbers are the same, with dropout and all.
    known = make_trainer(tmp_path / "known", {"max_tokens_per_micro_batch": cramped.state.budget})
    list(known.fit())
    assert_same(weights_of(cramped.module), weights_of(known.module))
    assert cramped.state.budget <= 50
    assert notes.notes[-1] == f"memory ran out; a micro-batch is now {cramped.state.budget} tokens"


def test_a_row_that_does_not_fit_alone_is_an_error(tmp_path: Path):
    trainer = make_trainer(tmp_path, {"batch_size": 40}, workload=Cramped(room=1))
    with pytest.raises(OutOfMemoryError) as caught:
        list(trainer.fit())
    assert str(caught.value) == (
        "a single row of 12 tokens does not fit into memory; set trainer.enable_gradient_checkpointing, "
        "lower preprocessing.global_max_sequence_length, or choose a smaller model"
    )


def test_an_optimizer_that_does_not_fit_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(trainer.optimizer, "step", lambda: torch.empty(2**50))
    with pytest.raises(OutOfMemoryError) as caught:
        list(trainer.fit())
    assert str(caught.value) == (
        "the state of optimizer 'adamw' does not fit into memory; write trainer.optimizer: "
        "{type: paged_adamw_8bit}, or train an adapter"
    )


def test_an_allocation_that_the_host_refuses_counts_as_out_of_memory():
    from declarlm.core.device import is_out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory(tmp_path: Path):
    class Wrong(Tokens):
        def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
            return {"answer": torch.zeros(2, 3) @ torch.zeros(2, 3)}

    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        list(make_trainer(tmp_path, workload=Wrong()).fit())


@pytest.mark.parametrize("optimizer", ["adamw", "paged_adamw_8bit"])
def test_the_fire_drill_leaves_everything_as_it_was(tmp_path: Path, optimizer: str):
    def normalized() -> nn.Module:
        return nn.Sequential(make_model(), Running())

    hook, evaluated = Counter(), []
    drilled = make_trainer(tmp_path / "drilled", {"optimizer": optimizer}, module=normalized(), hooks=[hook])
    before, random_before = weights_of(drilled.module), torch.get_rng_state()
    drilled.fire_drill(lambda: evaluated.append((drilled.module.training, torch.rand(1))))
    assert_same(weights_of(drilled.module), before)
    assert torch.equal(torch.get_rng_state(), random_before)
    assert not drilled.optimizer.state
    assert all(weight.grad is None for weight in drilled.module.parameters())
    assert hook.count.item() == 0
    assert evaluated[0][0] is False
    assert list((tmp_path / "drilled").iterdir()) == []

    calm = make_trainer(tmp_path / "calm", {"optimizer": optimizer}, module=normalized(), hooks=[Counter()])
    list(drilled.fit())
    list(calm.fit())
    assert_same(weights_of(drilled.module), weights_of(calm.module))


def test_the_fire_drill_takes_the_longest_rows_and_finds_the_budget(tmp_path: Path):
    workload = Cramped(room=50)
    trainer = make_trainer(tmp_path, workload=workload)
    trainer.fire_drill()
    assert trainer.state.budget <= 50


def test_the_fire_drill_stops_a_loss_that_is_not_finite(tmp_path: Path):
    trainer = make_trainer(tmp_path, workload=Poisoned(dict.fromkeys(range(40), "loss")))
    with pytest.raises(RunError) as caught:
        trainer.fire_drill()
    assert str(caught.value) == ("before any training, the loss on the longest rows is inf; check these rows' values")


def test_the_fire_drill_stops_a_loss_without_a_gradient(tmp_path: Path):
    workload = Tokens()
    workload.importance = {"answer": 0.0}
    with pytest.raises(RunError) as caught:
        make_trainer(tmp_path, workload=workload).fire_drill()
    assert str(caught.value) == "the loss on the longest rows gives no gradient to any trainable weight"


def test_the_fire_drill_stops_an_update_that_moves_nothing(tmp_path: Path):
    model = make_model()
    nn.init.ones_(model[4].bias)  # To a weight of zero even the smallest step would be a change.
    trainer = make_trainer(tmp_path, {"learning_rate": 1e-30, "optimizer": "sgd"}, module=model)
    with pytest.raises(RunError) as caught:
        trainer.fire_drill()
    assert str(caught.value) == "a training step left every weight as it was; raise trainer.learning_rate"


def test_the_fire_drill_lets_errors_of_the_evaluation_out(tmp_path: Path):
    def broken() -> None:
        raise ZeroDivisionError

    trainer = make_trainer(tmp_path)
    before = weights_of(trainer.module)
    with pytest.raises(ZeroDivisionError):
        trainer.fire_drill(broken)
    assert_same(weights_of(trainer.module), before)
