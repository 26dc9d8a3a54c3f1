import pytest

from declarlm.core import ConfigError
from declarlm.training import Trainer, plan_steps


def load(**values):
    return Trainer.Config.load(values)


def test_a_step_is_batch_size_times_accumulation():
    steps = plan_steps(load(epochs=2, batch_size=4, gradient_accumulation_steps=3), num_rows=50)
    assert (steps.rows_per_step, steps.per_epoch, steps.total) == (12, 5, 10)


def test_train_steps_override_epochs():
    assert plan_steps(load(train_steps=7, batch_size=4), num_rows=100).total == 7


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"effective_batch_size": 32, "batch_size": 8}, (8, 4)),
        ({"effective_batch_size": 32, "gradient_accumulation_steps": 8}, (4, 8)),
        ({"effective_batch_size": 32}, (32, 1)),
        ({"effective_batch_size": 32, "batch_size": 8, "gradient_accumulation_steps": 4}, (8, 4)),
    ],
)
def test_effective_batch_size_gives_what_is_left_to_auto(given, expected):
    steps = plan_steps(load(**given), num_rows=1000)
    assert (steps.batch_size, steps.gradient_accumulation_steps) == expected
    assert steps.rows_per_step == 32


@pytest.mark.parametrize(("num_rows", "expected"), [(1, 4), (500, 8), (10_000, 32), (50_000, 64), (10_000_000, 128)])
def test_automatic_batch_size_grows_with_the_root_of_the_rows(num_rows, expected):
    assert plan_steps(load(), num_rows).batch_size == expected


def test_fewer_rows_than_a_step_make_one_step_an_epoch():
    steps = plan_steps(load(epochs=3, batch_size=16), num_rows=5)
    assert (steps.rows_per_step, steps.per_epoch, steps.total) == (5, 1, 3)


def test_every_clash_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        load(
            effective_batch_size=7,
            batch_size=2,
            early_stop=0,
            steps_per_checkpoint=5,
            checkpoints_per_epoch=2,
            learning_rate=0,
            optimizer={"type": "adamw", "betas": [0.9]},
            precision="fp8",
        )
    assert str(caught.value).splitlines() == [
        "config: learning_rate: must be a number greater than 0 or 'auto', got 0",
        "config: optimizer.betas: must be two numbers, got 1",
        "config: precision: cannot be 'fp8', choose from: auto, bf16, fp16, fp32",
        "config: effective_batch_size: must be a multiple of batch_size (2), got 7",
        "config: checkpoints_per_epoch: cannot be given together with steps_per_checkpoint, choose one",
        "config: early_stop: must be at least 1, or -1 for never, got 0",
    ]


def test_a_wrong_product_is_reported():
    with pytest.raises(ConfigError) as caught:
        load(effective_batch_size=32, batch_size=8, gradient_accumulation_steps=8)
    expected = (
        "config: effective_batch_size: must be batch_size * gradient_accumulation_steps (64), or left out, got 32"
    )
    assert str(caught.value) == expected


def test_what_a_specialist_would_choose_is_the_default():
    config = load()
    assert (config.epochs, config.learning_rate_scheduler.type, config.optimizer.type) == (3, "cosine", "adamw")
    assert config.learning_rate_scheduler.warmup_fraction == 0.03
    assert config.gradient_clipping.clipglobalnorm == 1.0
    assert Trainer.Config.load(config.dump()) == config
