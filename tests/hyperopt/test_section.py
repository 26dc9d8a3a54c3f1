"""The section itself: what it takes, what it says of a mistake, and where."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from declarlm import ConfigError, load_config
from declarlm.hyperopt.section import Hyperopt
from declarlm.hyperopt.spaces import spaces
from tests.generated_configs import sections

CONFIG: dict[str, Any] = {
    "base_model": "starter",
    "input_features": [{"name": "utterance", "type": "text"}],
    "output_features": [{"name": "intent", "type": "category"}],
    "adapter": {"type": "lora"},
}
RANKS = {"space": "choice", "categories": [2, 4]}


def problems(hyperopt: Any, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config({**deepcopy(CONFIG), **more, "hyperopt": hyperopt})
    return str(caught.value)


@pytest.mark.parametrize("name", list(spaces))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_a_section_with_any_space_loads_from_its_dump(name, data):
    drawn = data.draw(sections(spaces[name].Config, space=name))
    parameters = {"adapter.r": drawn} | ({drawn["of"]: RANKS} if name == "ratio" else {})
    try:
        loaded = Hyperopt.load({"parameters": parameters})
    except ConfigError:
        assume(False)
    assert Hyperopt.load(loaded.dump()) == loaded
    assert loaded.dump()["parameters"]["adapter.r"]["space"] == name


def test_paths_are_checked_with_a_suggestion_and_the_line(tmp_path):
    path = tmp_path / "intents.yaml"
    path.write_text(
        "base_model: starter\n"
        "input_features:\n  - {name: utterance, type: text}\n"
        "output_features:\n  - {name: intent, type: category}\n"
        "adapter: lora\n"
        "hyperopt:\n"
        "  metric: intent.acuracy\n"
        "  parameters:\n"
        "    adapter.rr: {space: choice, categories: [2, 4]}\n"
        "    adaptr.alpha: {space: choice, categories: [2, 4]}\n"
        "    trainer.learning_rate: {space: uniform, lower: 0, upper: 1}\n"
        "    trainer.epochs: {space: uniform, lower: 1, upper: 2.5}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    told = str(caught.value).splitlines()
    start = f"{path}"
    assert told[0].startswith(f"{start}:8: hyperopt.metric: no category metric is named 'acuracy'")
    assert told[1].startswith(
        f"{start}:10: hyperopt.parameters.adapter.rr: no parameter is named 'rr' (did you mean 'r'?)"
    )
    assert told[2].startswith(
        f"{start}:11: hyperopt.parameters.adaptr.alpha: no section or feature is named 'adaptr' "
        "(did you mean 'adapter'?)"
    )
    assert told[3] == (
        f"{start}:12: hyperopt.parameters.trainer.learning_rate: must be a number greater than 0 or 'auto', got 0.0"
    )
    assert told[4] == (
        f"{start}:13: hyperopt.parameters.trainer.epochs: must be an integer at least 1, got 1.0; "
        "for integers write randint, qrandint or choice"
    )
    assert len(told) == 5


@pytest.mark.parametrize(
    ("hyperopt", "problem"),
    [
        ({"metric": "loss"}, "hyperopt.parameters: is required"),
        ({"parameters": {}}, "hyperopt.parameters: must name at least one parameter"),
        (
            {"parameters": {"adapter.r": [2, 4]}},
            "hyperopt.parameters.adapter.r: must be the name of a space or a mapping with it under 'space', got [2, 4]",
        ),
        (
            {"parameters": {"adapter.r": {"space": "choise", "categories": [2]}}},
            "hyperopt.parameters.adapter.r.space: no space is named 'choise' (did you mean 'choice'?)",
        ),
        (
            {"parameters": {"adapter.r": RANKS}, "goal": "minimize", "metric": "accuracy"},
            "hyperopt.goal: accuracy is better when it is high; write maximize, or leave goal out",
        ),
        (
            {"parameters": {"adapter.r": {"space": "choice", "categories": [4, 0]}}},
            "hyperopt.parameters.adapter.r: must be at least 1, got 0",
        ),
        (
            {"parameters": {"adapter.alpha": {"space": "ratio", "of": "adapter.rank", "value": 2}, "adapter.r": RANKS}},
            "hyperopt.parameters.adapter.alpha.of: no parameter is searched under the path 'adapter.rank' "
            "(did you mean 'adapter.r'?), choose from: adapter.r",
        ),
        (
            {"parameters": {"adapter.dropout": {"space": "randn"}}, "search_alg": "tpe"},
            "hyperopt.parameters.adapter.dropout.space: 'randn' has no ends, and Optuna searches between two; "
            "write uniform, or search_alg: random",
        ),
        (
            {"parameters": {"adapter.r": RANKS}, "executor": {"type": "inline", "max_concurrent_trials": 2}},
            "hyperopt.executor.max_concurrent_trials: must be 1 for executor inline, got 2; write type: ray",
        ),
        (
            {"parameters": {"adapter.r": RANKS}, "split": "test", "executor": {"scheduler": "asha"}},
            "hyperopt.split: must be 'validation': asha stops trials by what validation rows show",
        ),
        (
            {"parameters": {"adapter.r": RANKS}, "output_feature": "intnt", "metric": "accuracy"},
            "hyperopt.output_feature: no output feature is named 'intnt' (did you mean 'intent'?)",
        ),
    ],
)
def test_a_wrong_section_is_told_in_full(hyperopt, problem):
    assert problem in problems(hyperopt)


def test_a_search_of_a_model_that_is_not_trained_is_refused():
    config = {key: value for key, value in CONFIG.items() if key != "adapter"}
    with pytest.raises(ConfigError, match=r"hyperopt: searches values of a training, and trainer.type 'none' is none"):
        load_config({**config, "hyperopt": {"parameters": {"seed": {"space": "choice", "categories": [1, 2]}}}})


def test_features_are_addressed_by_name():
    parameters = {"intent.preprocessing.fallback_label": {"space": "choice", "categories": ["a", "b"]}}
    load_config({**CONFIG, "hyperopt": {"parameters": parameters}})
    wrong = {"intent.preprocessing.fallback": {"space": "choice", "categories": ["a", "b"]}}
    assert "hyperopt.parameters.intent.preprocessing.fallback: no parameter is named 'fallback'" in problems(
        {"parameters": wrong}
    )


def test_a_config_with_the_section_still_loads_from_its_dump():
    config = load_config({**CONFIG, "hyperopt": {"parameters": {"adapter.r": RANKS}}})
    assert load_config(config.dump()) == config
