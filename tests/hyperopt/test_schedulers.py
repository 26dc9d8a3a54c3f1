"""Which trials schedulers stop, against Ray Tune's own schedulers told the same."""

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from declarlm import ConfigError
from declarlm.hyperopt.schedulers import schedulers
from declarlm.hyperopt.spaces import spaces


def scheduler(name: str, **settings: Any) -> Any:
    return schedulers[name].Config.load(settings).build()


def results(seed: int, trials: int = 12, times: int = 9) -> Iterator[tuple[int, int, float]]:
    """Yield trial, time and score of trials that run side by side, each at its own pace."""
    draw = random.Random(seed)
    at = dict.fromkeys(range(trials), 0)
    quality = {number: draw.random() for number in at}
    while left := [number for number, time in at.items() if time < times]:
        number = draw.choice(left)
        at[number] += 1
        yield number, at[number], quality[number] * at[number] ** 0.5 + draw.gauss(0, 0.05)


class RayTrial:
    def __init__(self, number: int) -> None:
        self.trial_id, self.number, self.config, self.status = str(number), number, {}, "RUNNING"

    def __hash__(self) -> int:
        return self.number

    def is_finished(self) -> bool:
        return False


class Controller:
    """What Ray's schedulers ask of the loop around them."""

    def __init__(self, trials: list[RayTrial]) -> None:
        self.trials = trials

    def get_trials(self) -> list[RayTrial]:
        return self.trials

    def get_live_trials(self) -> set[RayTrial]:
        return set(self.trials)


def compare(ours: Any, theirs: Any, seed: int) -> int:
    """Tell both the same and return how many trials they stopped, at the same times."""
    trials = [RayTrial(number) for number in range(12)]
    theirs.set_search_properties("score", "max")
    for trial in trials:
        theirs.on_trial_add(Controller(trials), trial)
    stopped: set[int] = set()
    for number, time, score in results(seed):
        if number in stopped:
            continue
        result = {"training_iteration": time, "score": score, "time_total_s": time}
        decision = theirs.on_trial_result(Controller(trials), trials[number], result)
        assert ours.judge(number, time, score) == (decision == TrialScheduler.CONTINUE), (number, time)
        if decision != TrialScheduler.CONTINUE:
            stopped.add(number)
    return len(stopped)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_asha_stops_the_trials_that_ray_stops(seed, factor):
    settings = {"grace_period": 1, "reduction_factor": factor, "max_t": 9}
    theirs = AsyncHyperBandScheduler(time_attr="training_iteration", **settings)
    assert compare(scheduler("asha", **settings), theirs, seed) >= 3


@pytest.mark.parametrize("seed", range(5))
def test_the_median_rule_stops_the_trials_that_ray_stops(seed):
    theirs = MedianStoppingRule(time_attr="training_iteration", grace_period=1, min_samples_required=3)
    assert compare(scheduler("median_stopping_rule", grace_period=1), theirs, seed) >= 1


def test_asha_without_a_limit_lets_the_first_trial_at_each_rung_go_on():
    asha = scheduler("asha", grace_period=1, reduction_factor=2)
    assert all(asha.judge(0, time, 0.1) for time in range(1, 20))
    assert not asha.judge(1, 1, 0.0)
    assert asha.judge(2, 1, 0.2)


def test_hyperband_gives_its_brackets_different_patience():
    hyperband = scheduler("hyperband", grace_period=1, reduction_factor=3, max_t=9)
    first = [next(reversed(bracket.rungs), None) for bracket in hyperband._brackets]
    # Algorithm 1 of the paper for R = 9 and eta = 3: nine trials start with 1, five with 3, three with all 9.
    assert [first.count(time) for time in (1, 3, None)] == [9, 5, 3]
    assert hyperband.judge(14, 8, 0.0)
    assert not hyperband.judge(14, 9, 1.0)


PBT_SPACES = {
    "trainer.learning_rate": spaces["loguniform"].Config.load({"lower": 1e-4, "upper": 1e-1}).build(),
    "adapter.dropout": spaces["choice"].Config.load({"categories": [0.0, 0.1, 0.2]}).build(),
}


def generation(settings: dict[str, Any], scores: dict[int, float], seed: int = 0) -> list[Any]:
    samples = {number: {"trainer.learning_rate": 1e-2, "adapter.dropout": 0.1} for number in scores}
    return scheduler("pbt", **settings).evolve(scores, samples, PBT_SPACES, np.random.default_rng(seed))


def test_pbt_lets_the_worst_go_on_from_the_best():
    scores = {number: number / 10 for number in range(8)}
    moves = generation({"quantile_fraction": 0.25, "resample_probability": 0.0}, scores)
    assert [move.number for move in moves] == [0, 1]
    assert {move.donor for move in moves} <= {6, 7}
    for move in moves:
        assert move.values["trainer.learning_rate"] in (pytest.approx(0.012), pytest.approx(0.008))
        assert move.values["adapter.dropout"] in (0.0, 0.2)
    assert generation({}, {0: 0.5}) == []
    assert [move.number for move in generation({}, {0: math.nan, 1: 0.2})] == [0]


def test_pbt_draws_anew_as_often_as_it_is_told_and_stays_in_the_space():
    drawn = [
        move.values["trainer.learning_rate"]
        for seed in range(60)
        for move in generation({"resample_probability": 1.0}, {0: 0.0, 1: 1.0}, seed)
    ]
    assert len(set(drawn)) == 60
    assert all(1e-4 <= rate <= 1e-1 for rate in drawn)
    assert generation({}, {0: 0.0, 1: 1.0}, 3) == generation({}, {0: 0.0, 1: 1.0}, 3)


def test_fifo_never_stops_a_trial():
    assert scheduler("fifo").judge(0, 1, float("-inf"))
    assert not scheduler("fifo").stops


def test_a_limit_below_the_grace_period_is_refused():
    with pytest.raises(ConfigError, match=r"max_t: must be above grace_period \(4\), got 2"):
        scheduler("asha", grace_period=4, max_t=2)
