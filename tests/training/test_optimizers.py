"""Every optimizer, on weights small and large enough for its 8-bit blocks."""

import pytest
import torch
from small_run import assert_same, make_trainer, weights_of

from declarlm.core import ConfigError, RunError
from declarlm.training.optimizers import optimizers

RATES = {"sgd": 0.5, "adafactor": 0.05, "lion": 0.001}


@pytest.mark.parametrize("name", list(optimizers))
def test_it_learns_and_its_state_survives_a_checkpoint(tmp_path, name):
    config = {"optimizer": name, "epochs": 4, "eval_steps": 10, "learning_rate": RATES.get(name, 0.01)}
    whole = make_trainer(tmp_path / "whole", config)
    losses = [evaluation.training_loss for evaluation in whole.fit()]
    assert losses[-1] < 0.97 * losses[0]

    first = make_trainer(tmp_path / "half", config)
    next(first.fit())  # Ten of twenty steps; the generator is dropped there.
    second = make_trainer(tmp_path / "half", config)
    list(second.fit(resume=True))
    assert_same(weights_of(second.module), weights_of(whole.module))


def test_adafactor_keeps_rows_and_columns_only(tmp_path):
    trainer = make_trainer(tmp_path, {"optimizer": "adafactor", "train_steps": 1})
    list(trainer.fit())
    weight = trainer.module[2].weight
    assert sum(value.numel() for value in trainer.optimizer.state[weight].values()) < weight.numel() / 10


def test_eight_bit_moments_take_a_quarter(tmp_path):
    trainer = make_trainer(tmp_path, {"optimizer": "adamw_8bit", "train_steps": 1})
    list(trainer.fit())
    assert trainer.optimizer.state[trainer.module[2].weight]["state1"].dtype == torch.uint8


def test_without_bitsandbytes_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(RunError) as caught:
        make_trainer(tmp_path, {"optimizer": "paged_adamw"})
    assert str(caught.value) == (
        "optimizer 'paged_adamw' needs bitsandbytes: pip install bitsandbytes, or set trainer.optimizer to adamw"
    )


def test_nesterov_without_momentum_is_a_problem_of_the_config():
    with pytest.raises(ConfigError) as caught:
        optimizers["sgd"].Config.load({"nesterov": True})
    assert str(caught.value) == "config: nesterov: needs a momentum above 0 and a dampening of 0"
