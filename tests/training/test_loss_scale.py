"""fp16: small gradients are lifted into its range, and what overflows is computed again."""

import numpy as np
import pytest
import torch
from small_run import Tokens, assert_same, make_model, make_trainer, weights_of

from declarlm.core.errors import DivergedError
from declarlm.training.state import LOSS_SCALE, STEADY_STEPS, TrainState


class Tiny(Tokens):
    """Losses whose gradients are below what fp16 can hold, unless they are scaled."""

    factor = 1e-6

    def losses(self, module, rows):
        return {name: loss * self.factor for name, loss in super().losses(module, rows).items()}


class Huge(Tiny):
    factor = 100.0


def gradients(trainer, rows=slice(0, 8)):
    trainer.module.train()
    found = trainer.compute_gradients(np.arange(40)[rows])
    return found, {name: weight.grad.clone() for name, weight in trainer.module.named_parameters()}


@pytest.mark.parametrize("workload", [Tokens, Tiny])
def test_scaled_gradients_are_those_of_fp32(workload, tmp_path):
    settings = {"gradient_clipping": {"clipglobalnorm": None}}
    half = make_trainer(
        tmp_path / "fp16", {"precision": "fp16", **settings}, workload=workload(), module=make_model(0.0)
    )
    full = make_trainer(
        tmp_path / "fp32", {"precision": "fp32", **settings}, workload=workload(), module=make_model(0.0)
    )
    assert half.state.loss_scale == LOSS_SCALE
    (loss, norm), found = gradients(half)
    (plain_loss, plain_norm), expected = gradients(full)
    assert (loss, norm) == pytest.approx((plain_loss, plain_norm), rel=0.01)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0.05, atol=0.01 * float(gradient.abs().max()))


def test_without_a_scale_small_gradients_vanish(tmp_path):
    """So the test above shows what the scale is for."""
    trainer = make_trainer(tmp_path, {"precision": "fp16"}, workload=Tiny(), module=make_model(0.0))
    trainer.state.loss_scale = 1.0
    _, found = gradients(trainer)
    assert any((gradient == 0).float().mean() > 0.5 for gradient in found.values())


def test_an_overflow_lowers_the_scale_and_loses_no_step(tmp_path):
    trainer = make_trainer(tmp_path, {"precision": "fp16"}, workload=Huge(), module=make_model(0.2))
    evaluations = list(trainer.fit())
    assert 1.0 <= trainer.state.loss_scale < LOSS_SCALE
    assert trainer.state.failures == 0
    assert all(np.isfinite(evaluation.training_loss) for evaluation in evaluations)
    assert evaluations[-1].training_loss < evaluations[0].training_loss


def test_a_loss_that_is_not_finite_is_no_matter_of_the_scale(tmp_path):
    class Broken(Tokens):
        def losses(self, module, rows):
            return {name: loss * float("nan") for name, loss in super().losses(module, rows).items()}

    trainer = make_trainer(tmp_path, {"precision": "fp16"}, workload=Broken(), module=make_model(0.0))
    with pytest.raises(DivergedError):
        list(trainer.fit())
    assert trainer.state.loss_scale == LOSS_SCALE


def test_the_scale_rises_again_after_many_steps():
    state = TrainState(loss_scale=LOSS_SCALE / 4)
    for _ in range(STEADY_STEPS - 1):
        state.count_steady()
    assert state.loss_scale == LOSS_SCALE / 4
    for _ in range(1 + 5 * STEADY_STEPS):
        state.count_steady()
    assert state.loss_scale == LOSS_SCALE
    plain = TrainState()
    for _ in range(STEADY_STEPS):
        plain.count_steady()
    assert plain.loss_scale == 1.0


def test_a_resumed_training_keeps_its_scale(tmp_path):
    whole = make_trainer(tmp_path / "whole", {"precision": "fp16"}, workload=Huge(), module=make_model(0.2))
    list(whole.fit())
    stopped = make_trainer(tmp_path / "stopped", {"precision": "fp16"}, workload=Huge(), module=make_model(0.2))
    next(iter(stopped.fit()))
    resumed = make_trainer(tmp_path / "stopped", {"precision": "fp16"}, workload=Huge(), module=make_model(0.2))
    list(resumed.fit(resume=True))
    assert resumed.state.loss_scale == whole.state.loss_scale
    assert_same(weights_of(resumed.module), weights_of(whole.module))
