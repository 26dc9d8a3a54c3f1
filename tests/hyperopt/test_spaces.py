"""What spaces draw, against their definitions and against Ray Tune's own."""

import math
from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from ray import tune

from declarlm import ConfigError
from declarlm.hyperopt.spaces import Interval, Options, spaces


def space(name: str, **settings: Any) -> Any:
    return spaces[name].Config.load(settings).build()


def draws(name: str, count: int = 4000, **settings: Any) -> list[Any]:
    generator = np.random.default_rng(0)
    built = space(name, **settings)
    return [built.draw(generator) for _ in range(count)]


RAY = {
    "uniform": ({"lower": -1.0, "upper": 3.0}, tune.uniform(-1.0, 3.0)),
    "quniform": ({"lower": 0.2, "upper": 1.0, "q": 0.2}, tune.quniform(0.2, 1.0, 0.2)),
    "loguniform": ({"lower": 1e-5, "upper": 1e-1}, tune.loguniform(1e-5, 1e-1)),
    "randint": ({"lower": 2, "upper": 6}, tune.randint(2, 6)),
    "randn": ({"mean": 2.0, "sd": 0.5}, tune.randn(2.0, 0.5)),
    "qrandn": ({"mean": 0.0, "sd": 1.0, "q": 0.5}, tune.qrandn(0.0, 1.0, 0.5)),
    "choice": ({"categories": [1, 2, 5]}, tune.choice([1, 2, 5])),
}


@pytest.mark.parametrize("name", RAY)
def test_a_space_draws_what_ray_tune_draws(name):
    settings, theirs = RAY[name]
    ours = np.array(draws(name, **settings), dtype=float)
    np.random.seed(0)
    other = np.array([theirs.sample() for _ in range(4000)], dtype=float)
    if name == "loguniform":
        ours, other = np.log(ours), np.log(other)
    spread = other.std()
    # Where q is given, Ray rounds a uniform number, and so draws the two ends half as often.
    assert abs(ours.mean() - other.mean()) < 0.1 * spread
    assert ours.std() == pytest.approx(spread, rel=0.15 if name == "quniform" else 0.06)
    if name != "randn" and name != "qrandn":
        assert ours.min() == pytest.approx(other.min(), abs=0.05 * spread)
        assert ours.max() == pytest.approx(other.max(), abs=0.05 * spread)


@pytest.mark.parametrize(
    ("name", "settings", "values"),
    [
        ("randint", {"lower": 2, "upper": 5}, [2, 3, 4]),
        ("qrandint", {"lower": 2, "upper": 8, "q": 2}, [2, 4, 6, 8]),
        ("quniform", {"lower": 4, "upper": 12, "q": 4}, [4, 8, 12]),
        ("quniform", {"lower": 0.1, "upper": 0.3, "q": 0.1}, [0.1, 0.2, 0.3]),
        ("choice", {"categories": ["a", None, [1]]}, ["a", None, [1]]),
        ("grid_search", {"values": [8, 16]}, [8, 16]),
    ],
)
def test_a_finite_space_draws_each_of_its_values_equally_often(name, settings, values):
    drawn = draws(name, **settings)
    counts = Counter(map(str, drawn))
    assert set(counts) == set(map(str, values))
    assert min(counts.values()) > 4000 / len(values) * 0.85
    assert {type(value) for value in drawn} == {type(value) for value in values}
    shape = space(name, **settings).shape
    assert [shape.at(place) for place in range(shape.count)] == values


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("qloguniform", {"lower": 8.0, "upper": 128.0, "q": 8.0}),
        ("qlograndint", {"lower": 8, "upper": 128, "q": 8}),
    ],
)
def test_steps_on_a_logarithmic_scale_stay_multiples_within_the_ends(name, settings):
    drawn = draws(name, **settings)
    assert all(isinstance(value, int) and value % 8 == 0 and 8 <= value <= 128 for value in drawn)
    assert {min(drawn), max(drawn)} == {8, 128}
    # Half of the orders of magnitude lie below the geometric mean, 32.
    assert 0.4 < np.mean(np.array(drawn) <= 32) < 0.75


@pytest.mark.parametrize(("low", "high"), [(1, 99), (4, 64)])
def test_an_integer_on_a_logarithmic_scale_is_drawn_as_optuna_draws_it(low, high):
    sampler = optuna.samplers.RandomSampler(seed=0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    theirs = [study.ask().suggest_int("n", low, high, log=True) for _ in range(2000)]
    ours = draws("lograndint", lower=low, upper=high + 1)
    assert {min(ours), max(ours)} == {low, high}
    assert np.log(ours).mean() == pytest.approx(np.log(theirs).mean(), abs=0.08)
    assert np.mean(np.array(ours) == low) == pytest.approx(np.mean(np.array(theirs) == low), abs=0.03)


def test_a_loguniform_number_has_a_uniform_order_of_magnitude():
    orders = [math.floor(math.log10(value)) for value in draws("loguniform", lower=1e-5, upper=1e-2)]
    assert set(orders) == {-5, -4, -3}
    assert min(Counter(orders).values()) > 1200


def test_a_ratio_follows_and_stays_an_integer():
    follower = space("ratio", of="adapter.r", value=2)
    assert follower.derive({"adapter.r": 8}) == 16
    assert isinstance(follower.derive({"adapter.r": 8}), int)
    assert space("ratio", of="x", value=0.5).derive({"x": 0.25}) == 0.125
    assert follower.follows


def test_shapes_tell_a_searcher_all_it_needs():
    assert space("choice", categories=[1, "a"]).shape == Options([1, "a"])
    assert space("loguniform", lower=1e-3, upper=1.0).shape == Interval(1e-3, 1.0, log=True)
    assert space("randint", lower=0, upper=4).shape == Interval(0, 3, step=1, is_integer=True)
    assert space("randn").shape is None
    assert Interval(0.1, 0.5, step=0.1).nearest(0.30000000000000004) == 0.3


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("uniform", {"lower": 2, "upper": 1}, "upper: must be above lower (2), got 1"),
        ("loguniform", {"lower": 0, "upper": 1}, "lower: must be greater than 0, got 0.0"),
        ("quniform", {"lower": 0.1, "upper": 1, "q": 0.3}, "lower: must be a multiple of q (0.3), got 0.1"),
        ("qrandint", {"lower": 2, "upper": 9, "q": 2}, "upper: must be a multiple of q (2), got 9"),
        ("choice", {"categories": []}, "categories: must hold at least one value"),
        ("choice", {"categories": [4, 8, 4]}, "categories[2]: is 4 a second time; leave it out"),
        ("randn", {"sd": 0}, "sd: must be greater than 0, got 0.0"),
    ],
)
def test_a_wrong_space_is_refused(name, settings, problem):
    with pytest.raises(ConfigError) as caught:
        space(name, **settings)
    assert problem in str(caught.value)
