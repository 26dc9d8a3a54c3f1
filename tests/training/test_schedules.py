"""Schedules against torch's and against formulas."""

import math

import pytest
import torch

from declarlm.training.schedules import schedules

TOTAL = 40


def factors(name, **values):
    schedule = schedules[name].Config.load(values).build(TOTAL)
    return [schedule.factor(step) for step in range(TOTAL)]


def rates_of_torch(make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("name", list(schedules))
def test_the_rate_is_never_zero_and_never_above_its_highest(name):
    for warmup in (0.0, 0.1, 1.0):
        rates = factors(name, warmup_fraction=warmup)
        assert all(0 < rate <= 1 for rate in rates)
    assert max(factors(name)) > 0.99


def test_warmup_rises_evenly_to_the_highest_rate():
    rates = factors("constant", warmup_fraction=0.1)
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_cosine_equals_torch():
    expected = rates_of_torch(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TOTAL))
    assert factors("cosine", warmup_fraction=0) == pytest.approx(expected)


def test_linear_and_polynomial_equal_torch():
    for name, power in (("linear", 1.0), ("polynomial", 2.0)):
        expected = rates_of_torch(
            lambda optimizer, power=power: torch.optim.lr_scheduler.PolynomialLR(optimizer, TOTAL, power)
        )
        extra = {"polynomial_power": power} if name == "polynomial" else {}
        assert factors(name, warmup_fraction=0, **extra) == pytest.approx(expected)


def test_exponential_equals_torch():
    expected = rates_of_torch(lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9))
    assert factors("exponential", warmup_fraction=0, decay_rate=0.9, decay_steps=1) == pytest.approx(expected)
    expected = rates_of_torch(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5))
    stairs = factors("exponential", warmup_fraction=0, decay_rate=0.5, decay_steps=10, staircase=True)
    assert stairs == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_one_cycle_equals_torch(share):
    def make(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=TOTAL + 1, pct_start=share)

    schedule = schedules["one_cycle"].Config.load({"warmup_fraction": share}).build(TOTAL + 1)
    # Torch's scheduler needs one step more than it gives rates for.
    assert [schedule.factor(step) for step in range(TOTAL)] == pytest.approx(rates_of_torch(make))


@pytest.mark.parametrize(("share", "total"), [(0.1, 10), (0.5, 2), (1.0, 1), (0.05, 20)])
def test_one_cycle_may_rise_in_a_single_step(share, total):
    schedule = schedules["one_cycle"].Config.load({"warmup_fraction": share}).build(total)
    assert schedule.factor(0) == 1.0
    assert all(0 < schedule.factor(step) <= 1 for step in range(total))


@pytest.mark.parametrize(("share", "total", "steps"), [(0.07, 100, 7), (0.14, 50, 7), (0.55, 100, 55), (0.071, 100, 8)])
def test_a_warmup_is_not_a_step_longer_for_rounding(share, total, steps):
    assert schedules["constant"].Config.load({"warmup_fraction": share}).build(total).warmup == steps


def test_inverse_square_root_is_that_of_the_paper():
    rates = factors("inverse_sqrt", warmup_fraction=0.25)
    # Vaswani et al. 2017, equation 3, over its value at the end of the warm-up.
    assert rates[10:] == pytest.approx([math.sqrt(10 / step) for step in range(10, TOTAL)])
