"""What every plugin promises, tested on each that is registered; a new one is covered without a line here.

Encoders, adapters and features have files of their own. Only what cannot be guessed stands in a table: samples of a
new kind of value, and the reference of a new loss.
"""

import ast
import dataclasses
import inspect
import json
import re
import typing
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from plugins import PLUGINS, config_of, of_kind, plugin, required
from small_bases import TEXTS, save_tiny_llama
from torch.nn import functional

import declarlm
from declarlm import DeclarLM
from declarlm.config import REGISTRIES
from declarlm.core import ConfigError, Section
from declarlm.core.files import read_json_lines
from declarlm.core.json_schema import json_schema
from declarlm.data.preprocessing import Preprocessing
from declarlm.data.split import divide
from declarlm.layers.hidden import Hidden
from declarlm.metrics import Prediction, evaluate

HEAVY = {"torch", "transformers", "peft", "pandas", "sklearn", "bitsandbytes", "numpy", "scipy", "pyarrow"}


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_plugin_is_documented(kind, name):
    text = inspect.getdoc(plugin(kind, name)) or ""
    summary = text.partition("\n\n")[0]
    assert re.match(r"[A-Z0-9].*\.$", summary, re.DOTALL), f"the docstring starts with no sentence: {summary!r}"


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_every_parameter_is_documented_by_a_sentence(kind, name):
    for section in {plugin(kind, name).Config, *sections_in(plugin(kind, name).Config)}:
        for field in dataclasses.fields(section):
            text = field.metadata.get("doc", "")
            assert re.match(r"[A-Z0-9'\"].*\.$", text), f"{section.__qualname__}.{field.name}: {text!r}"


def sections_in(section: type) -> set[type]:
    """The sections that stand in a section as parameters of their own."""
    hints = typing.get_type_hints(section)
    kinds = {kind for hint in hints.values() for kind in [hint, *typing.get_args(hint)]}
    return {kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)}


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_config_survives_dump_and_load(kind, name):
    config = config_of(kind, name)
    dumped = config.dump()
    assert type(config).load(json.loads(json.dumps(dumped))) == config
    assert all(key in dumped for key in required(type(config)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.type = "another"


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_config_fits_its_exported_schema(kind, name):
    schema = json_schema(plugin(kind, name).Config)
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(config_of(kind, name).dump(), schema, jsonschema.Draft7Validator)


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_an_unknown_parameter_is_named(kind, name):
    with pytest.raises(ConfigError, match="no parameter is named 'no_such_key'"):
        config_of(kind, name, no_such_key=1)


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_a_file_defines_one_kind_of_plugin_and_imports_nothing_heavy(kind, name):
    path = Path(inspect.getfile(plugin(kind, name)))
    beside = {other for other, one in PLUGINS if Path(inspect.getfile(plugin(other, one))) == path}
    assert beside == {kind} or beside == {"input_features", "output_features"}
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not HEAVY & {one.split(".")[0] for one in names}, f"{path} imports {names} at module level"


def test_every_file_that_registers_a_plugin_is_found():
    root = Path(declarlm.__file__).parent
    registering = {
        path for path in root.rglob("*.py") if re.search(r"^@\w+\.register\(", path.read_text(), re.MULTILINE)
    }
    assert registering == {Path(inspect.getfile(plugin(kind, name))) for kind, name in PLUGINS}


# Combiners and heads


@of_kind("combiners")
@pytest.mark.parametrize("widths", [{"a": 3, "b": 3}, {"a": 3, "b": 5}])
def test_a_combiner_gives_one_vector_a_row_of_the_width_it_says(name, widths):
    torch.manual_seed(0)
    module = config_of("combiners", name).build().build(widths).eval()
    vectors = {one: torch.randn(4, width) for one, width in widths.items()}
    together = module({one: Hidden(values) for one, values in vectors.items()})
    assert together.shape == (4, module.width)
    for row in range(4):
        alone = module({one: Hidden(values[row : row + 1]) for one, values in vectors.items()})
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)
    if weights := list(module.parameters()):
        (together * torch.randn_like(together)).sum().backward()
        assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in weights)


@pytest.mark.parametrize("name", list(REGISTRIES["decoders"].where(model_types="ecd")))
def test_a_head_gives_as_many_scores_as_asked(name):
    torch.manual_seed(0)
    module = config_of("decoders", name).build().build(7, 3).eval()
    inputs = torch.randn(4, 7)
    scores = module(inputs)
    assert scores.shape == (4, 3)
    torch.testing.assert_close(module(inputs[2:3])[0], scores[2], rtol=1e-5, atol=1e-5)
    scores.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in module.parameters())


@of_kind("decoders")
def test_a_decoder_fits_output_types_that_exist(name):
    assert plugin("decoders", name).accepts <= set(REGISTRIES["output_features"])
    assert plugin("decoders", name).model_types <= {"ecd", "llm"}


# Losses


SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-1.0, 3.0, 0.0], [0.0, 0.0, 1.0], [4.0, 1.0, -2.0]])
TARGETS = {
    "category": (SCORES, torch.tensor([0, 2, 1, -1, 1])),
    "binary": (SCORES[:, :1], torch.tensor([1, 0, 0, -1, 1])),
    "number": (SCORES[:, :1], torch.tensor([1.0, -0.5, 0.0, torch.nan, 30.0])),
    "sequence": (SCORES, torch.tensor([0, 2, 1, -1, 1])),
    "vector": (SCORES, torch.tensor([[1.0, 0.5, 1], [0, 0, 0], [1, 1, -1], [torch.nan] * 3, [30, 1, 0]])),
    "set": (SCORES, torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [torch.nan] * 3, [0, 1, 0]])),
}
KNOWN = [0, 1, 2, 4]
REFERENCES = {
    "softmax_cross_entropy": functional.cross_entropy,
    "binary_weighted_cross_entropy": lambda scores, targets: functional.binary_cross_entropy_with_logits(
        scores[:, 0], targets.float()
    ),
    "mean_squared_error": lambda scores, targets: functional.mse_loss(scores.reshape(targets.shape), targets),
    "mean_absolute_error": lambda scores, targets: functional.l1_loss(scores.reshape(targets.shape), targets),
    "sigmoid_cross_entropy": functional.binary_cross_entropy_with_logits,
    "huber": lambda scores, targets: functional.huber_loss(scores.reshape(targets.shape), targets),
}
LOSSES = [
    (name, kind)
    for name in REGISTRIES["losses"].where(model_types="ecd")
    for kind in sorted(plugin("losses", name).accepts)
]


def loss_of(name: str, kind: str) -> Any:
    assert kind in TARGETS, f"add scores and targets of type {kind!r} to TARGETS"
    labels = {"binary": ["no", "yes"], "number": []}.get(kind, ["x", "y", "z"])
    return config_of("losses", name).build(labels=labels, counts=[1] * len(labels), column="a")


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_a_loss_is_that_of_torch(name, kind):
    assert name in REFERENCES, f"add an independent reference of {name!r} to REFERENCES"
    loss, (scores, targets) = loss_of(name, kind), TARGETS[kind]
    found = loss.sum(scores, targets).item() / loss.denominator(targets.numpy())
    assert found == pytest.approx(REFERENCES[name](scores[KNOWN], targets[KNOWN]).item(), rel=1e-6)


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_a_loss_does_not_depend_on_how_a_step_is_cut(name, kind):
    loss, (scores, targets) = loss_of(name, kind), TARGETS[kind]
    for cut in ([[0, 1, 2, 3, 4]], [[3], [0, 4], [1, 2]], [[0], [1], [2], [3], [4]]):
        assert sum(loss.sum(scores[rows], targets[rows]).item() for rows in cut) == pytest.approx(
            loss.sum(scores, targets).item(), rel=1e-6
        )
        assert sum(loss.denominator(targets[rows].numpy()) for rows in cut) == pytest.approx(4)


@pytest.mark.parametrize(("name", "kind"), LOSSES)
def test_an_unknown_target_adds_nothing_and_pulls_at_nothing(name, kind):
    loss, (scores, targets) = loss_of(name, kind), TARGETS[kind]
    scores = scores.clone().requires_grad_()
    loss.sum(scores, targets).backward()
    assert scores.grad[3].abs().max() == 0
    assert all(scores.grad[row].abs().max() > 0 for row in KNOWN)
    assert scores.grad.isfinite().all()


# Metrics


TRUTHS: dict[str, list[Any]] = {
    "category": ["x", "y", "z", "u", "v", "v"],
    "binary": ["no", "yes", "yes", "no", "yes", "no"],
    "number": [1.0, 2.0, -3.0, 4.5, 7.0, 0.5],
    "text": ['{"a": 1}', '["b c", 2]', '{"d": "e"}', '{"f": []}', '[1, "g"]', '{"h i": 3}'],
    "set": [["a"], ["a", "b"], ["c"], ["b", "c"], ["a", "c"], ["d"]],
    "vector": [[1.0, 0.0], [2.0, 1.0], [-3.0, 2.0], [4.5, 1.0], [7.0, -1.0], [0.5, 3.0]],
    "json": ['{"a": 1}', '{"a": 2, "b": 3}', '{"d": "e"}', '{"f": []}', '{"g": {"h": 1}}', "[true]"],
    "sequence": [["B-x", "O"], ["O", "B-y"], ["B-x", "I-x"], ["O", "O"], ["B-y", "I-y"], ["B-y", "O"]],
}
METRICS = [(name, kind) for name in REGISTRIES["metrics"] for kind in sorted(plugin("metrics", name).accepts)]


def prediction_of(kind: str, values: list[Any]) -> Prediction:
    if kind not in ("category", "binary"):
        return Prediction(values=values)
    labels = sorted(set(TRUTHS[kind]))
    shares = np.array([[0.98 if label == value else 0.02 for label in labels] for value in values])
    return Prediction(values=values, probabilities=shares / shares.sum(1, keepdims=True), labels=labels)


@pytest.mark.parametrize(("name", "kind"), METRICS)
def test_nothing_beats_a_perfect_prediction(name, kind):
    assert kind in TRUTHS, f"add truths of type {kind!r} to TRUTHS"
    truth = TRUTHS[kind]
    metric = config_of("metrics", name).build()
    sign = 1 if metric.goal == "maximize" else -1
    best = sign * metric.compute(truth, prediction_of(kind, truth))
    wrong = {"text": ["no json"] * 6, "json": [""] * 6, "set": [["x"]] * 6, "sequence": [["O", "O"]] * 6}.get(
        kind, truth
    )
    missing = [float("nan")] * 6 if kind == "number" else wrong
    worse = [truth[step:] + truth[:step] for step in range(1, 6)] + [missing]
    found = [sign * metric.compute(truth, prediction_of(kind, values)) for values in worse]
    finite = [value for value in found if np.isfinite(value)]
    assert np.isfinite(best)
    assert max(finite) <= best + 1e-12
    assert min(finite) < best
    assert np.isnan(evaluate(kind, [], prediction_of(kind, []), [name])[name]) if kind == "number" else True


@pytest.mark.parametrize(("name", "kind"), METRICS)
def test_a_metric_of_one_row_is_a_number_or_undefined(name, kind):
    truth = TRUTHS[kind][:1]
    value = config_of("metrics", name).build().compute(truth, prediction_of(kind, truth))
    assert isinstance(value, float)


# Objectives


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory) -> str:
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


@of_kind("objectives")
def test_an_objective_trains_what_it_says(tiny_llama, name, tmp_path):
    objective = plugin("objectives", name)
    outputs = [{"name": "color", "type": "text"}] if objective.needs_outputs else []
    config = {
        "base_model": tiny_llama,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": outputs,
        "trainer": {
            "type": name,
            **required(objective.Config),
            **({"train_steps": 2, "batch_size": 4} if objective.trains else {}),
        },
        "adapter": "lora" if objective.trains else None,
    }
    if "llm" not in objective.model_types:
        encoded = {"name": "note", "type": "text", "encoder": {"type": "embed"}}
        category = {"name": "color", "type": "category"}
        config = {"input_features": [encoded], "output_features": [category], "trainer": config["trainer"]}
    table = pd.DataFrame({"note": TEXTS * 2, "color": ["red", "white", "brown"] * 8})
    table = table.assign(rejected="black", label=[True, True, False, False] * 6)  # what some objectives read beside
    result = DeclarLM(config).train(table, output=tmp_path)
    assert (result.directory / "checkpoints").exists() == objective.trains
    assert np.isfinite(result.metrics["test"]["combined"]["loss"])
    losses = [line["loss"] for line in read_json_lines(result.directory / "metrics.jsonl") if line["kind"] == "step"]
    assert np.isfinite(losses).all()
    assert len(losses) == (2 if objective.trains else 0)


# Optimizers and schedules


@of_kind("optimizers")
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_an_optimizer_goes_down_a_quadratic(name):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn(64, 80, generator=generator))
    vector = torch.nn.Parameter(torch.randn(64, generator=generator))
    groups = [{"params": [matrix]}, {"params": [vector], "weight_decay": 0.0, "lr": 0.02}]
    optimizer = config_of("optimizers", name).build().build(groups, 0.02)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02]
    sizes = []
    for _ in range(60):
        losses = [0.5 * weight.square().sum() for weight in (matrix, vector)]
        sizes.append([loss.item() for loss in losses])
        sum(losses).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(last < 0.7 * first for first, last in zip(sizes[0], sizes[-1], strict=True))


ENDS_HIGH = {"constant", "exponential"}  # The first by its name, the second unless its decay fits the steps.


@of_kind("schedules")
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100])
def test_a_schedule_stays_between_nothing_and_the_highest_rate(name, steps):
    schedule = config_of("schedules", name).build(steps)
    factors = [schedule.factor(step) for step in range(steps)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[0] > 0
    peak = int(np.argmax(factors))
    assert all(later <= earlier + 1e-12 for earlier, later in zip(factors[peak:], factors[peak + 1 :], strict=False))
    if steps >= 10 and name not in ENDS_HIGH:
        assert factors[-1] < 0.6
        assert max(factors) > 0.9


# Splits


def days(rows: int = 60) -> pd.DataFrame:
    table = pd.DataFrame({"day": [f"2026-01-{1 + row % 20:02d}" for row in range(rows)], "row": range(rows)})
    table["split"] = [["train", "train", "validation", "test"][row % 4] for row in range(rows)]
    return table


@of_kind("splits")
def test_a_split_puts_every_row_into_one_part_in_its_order(name):
    config = config_of("splits", name)
    parts = vars(divide(days(), config, seed=1))
    found = [row for table in parts.values() for row in table["row"]]
    assert sorted(found) == list(range(60))
    assert all(table["row"].is_monotonic_increasing and len(table) for table in parts.values())
    assert len(parts["train"]) == max(map(len, parts.values()))
    again = vars(divide(days().set_index(pd.Index([0] * 60)), config, seed=1))
    assert [table["row"].tolist() for table in again.values()] == [table["row"].tolist() for table in parts.values()]


@of_kind("splits")
def test_a_split_can_be_written_as_a_name(name):
    section = required(plugin("splits", name).Config)
    loaded = (
        Preprocessing.load({"split": {"type": name, **section}}) if section else Preprocessing.load({"split": name})
    )
    assert loaded.split == config_of("splits", name)
