"""What searchers ask for, and that a search that is told its past goes on as if it had never stopped."""

from typing import Any

import pytest

from declarlm import ConfigError
from declarlm.hyperopt.searchers import Outcome, searchers
from declarlm.hyperopt.spaces import spaces

SPACES = {
    "x": {"space": "uniform", "lower": -2.0, "upper": 2.0},
    "n": {"space": "randint", "lower": 0, "upper": 5},
    "c": {"space": "choice", "categories": ["good", "bad", "worse"]},
}
NUMBERS = {"x": SPACES["x"], "y": {"space": "loguniform", "lower": 1e-3, "upper": 1.0}}


def configs(given: dict[str, Any]) -> dict[str, Any]:
    return {
        path: spaces[space["space"]].Config.load({key: value for key, value in space.items() if key != "space"})
        for path, space in given.items()
    }


def searcher(name: str, given: dict[str, Any], *, num_samples: int | None = None, **settings: Any) -> Any:
    built = {path: config.build() for path, config in configs(given).items()}
    return searchers[name].Config.load(settings).build(built, seed=3, num_samples=num_samples)


def score(sample: dict[str, Any]) -> float:
    return -((sample["x"] - 0.5) ** 2) - {"good": 0.0, "bad": 1.0, "worse": 2.0}.get(sample.get("c", "good"), 0.0)


def test_random_samples_depend_on_seed_and_number_alone():
    forwards = [searcher("random", SPACES).ask(number) for number in range(6)]
    asked = searcher("random", SPACES)
    assert [asked.ask(number) for number in reversed(range(6))] == forwards[::-1]
    assert len({str(sample) for sample in forwards}) == 6
    assert list(asked.known())[:6] == forwards
    assert asked.num_trials == 10


def test_a_grid_in_a_random_search_is_tried_whole_for_each_sample():
    given = {**SPACES, "g": {"space": "grid_search", "values": [1, 2]}, "h": {"space": "grid_search", "values": "abc"}}
    given["h"]["values"] = ["a", "b", "c"]
    search = searcher("random", given, num_samples=2)
    assert search.num_trials == 12
    points = [(sample["g"], sample["h"]) for sample in search.known()]
    assert points[:6] == [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (2, "b"), (2, "c")]
    assert points[6:] == points[:6]
    assert searcher("random", given).num_trials == 6


def test_grid_tries_every_combination_once():
    given = {"n": SPACES["n"], "c": SPACES["c"]}
    search = searcher("grid", given)
    assert search.num_trials == 15
    assert len({str(sample) for sample in search.known()}) == 15


@pytest.mark.parametrize(("name", "given"), [("tpe", SPACES), ("cmaes", NUMBERS)])
def test_a_search_that_learns_finds_more_than_a_random_one(name, given):
    def mean_of_last(search: Any) -> float:
        found = []
        for number in range(60):
            found.append(score(search.ask(number)))
            search.tell(number, Outcome(found[-1], 1, is_complete=True))
        return sum(found[-20:]) / 20

    assert mean_of_last(searcher(name, given)) > mean_of_last(searcher("random", given)) + 0.2


@pytest.mark.parametrize(("name", "given"), [("random", SPACES), ("tpe", SPACES), ("cmaes", NUMBERS)])
def test_a_search_that_is_told_its_past_goes_on_as_if_it_had_never_stopped(name, given):
    whole, samples = searcher(name, given), []
    for number in range(30):
        samples.append(whole.ask(number))
        whole.tell(number, Outcome(score(samples[-1]), 1, is_complete=True))
    again = searcher(name, given)
    for number in range(20):
        again.recall(number, samples[number])
        again.tell(number, Outcome(score(samples[number]), 1, is_complete=True))
    for number in range(20, 30):
        assert again.ask(number) == samples[number]
        again.tell(number, Outcome(score(samples[number]), 1, is_complete=True))


def test_failed_and_stopped_trials_do_not_break_a_search_that_learns():
    search = searcher("tpe", SPACES)
    outcomes = [
        Outcome(None, 0, is_complete=False),
        Outcome(0.5, 2, is_complete=False),
        Outcome(0.1, 3, is_complete=True),
    ]
    for number in range(30):
        search.ask(number)
        search.tell(number, outcomes[number % 3])
    assert len(search.study.trials) == 30


def test_a_past_that_would_not_be_drawn_again_counts_as_it_was():
    search = searcher("tpe", SPACES, n_startup_trials=1)
    for number in range(8):
        search.recall(number, {"x": 0.5, "n": 2, "c": "good"})
        search.tell(number, Outcome(1.0, 1, is_complete=True))
    complete = [trial for trial in search.study.trials if trial.state.name == "COMPLETE"]
    assert [trial.params for trial in complete] == [{"x": 0.5, "n": 2, "c": 0}] * 8
    assert set(search.ask(8)) == {"x", "n", "c"}


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("tpe", {"x": {"space": "randn"}}, "parameters.x.space: 'randn' has no ends, and Optuna searches between two"),
        ("tpe", {"x": {"space": "grid_search", "values": [1]}}, "'grid_search' is not for a search that learns"),
        ("tpe", {"x": {"space": "qlograndint", "lower": 2, "upper": 8, "q": 2}}, "'qlograndint' is not in Optuna"),
        ("cmaes", SPACES, "parameters.c.space: 'choice' has no order, which cmaes needs"),
        ("cmaes", {"x": SPACES["x"]}, "search_alg: cmaes needs at least two parameters; write tpe"),
        ("grid", SPACES, "parameters.x.space: 'uniform' has no end of values, which a grid cannot try"),
    ],
)
def test_a_space_that_a_searcher_lacks_is_a_problem(name, given, problem):
    found = searchers[name].Config.load({}).check_spaces(configs(given))
    assert problem in "; ".join(f"{one.path}: {one.message}" for one in found)


def test_optuna_is_asked_for_by_name_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r'needs optuna: pip install "declarlm\[tune\]", or write search_alg: random'):
        searcher("tpe", SPACES)
