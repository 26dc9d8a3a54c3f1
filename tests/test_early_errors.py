"""What is wrong with a table or a base is told before the libraries of models are loaded, and leaves nothing."""

import json
import subprocess
import sys

import pytest

ROWS = {
    "text": [f"the note number {number}" for number in range(40)],
    "label": ["a", "b"] * 20,
    "size": [str(number) for number in range(40)],
}
LLM = {
    "base_model": "starter",
    "adapter": "lora",
    "input_features": [{"name": "text", "type": "text"}],
    "output_features": [{"name": "label", "type": "category"}],
}
ECD = {
    "input_features": [{"name": "text", "type": "text", "encoder": "tf_idf"}],
    "output_features": [{"name": "label", "type": "category"}],
}
SIZE = {"output_features": [{"name": "size", "type": "number"}]}
SIZE_READ = {"input_features": [{"name": "size", "type": "number"}]}
NOTE = {"output_features": [{"name": "label", "type": "text"}]}
RATED = {"trainer": {"type": "grpo", "rewards": [{"type": "run", "run": "nowhere"}]}}
CASES = {
    "missing label column": (LLM, {"label": None}, "DataError: the table: no column is named 'label'"),
    "missing input column": (ECD, {"text": None}, "DataError: the table: no column is named 'text'"),
    "both columns missing": (ECD, {"text": None, "label": None}, "named 'label', choose from"),
    "one label": (ECD, {"label": ["a"] * 40}, "DataError: column 'label': has only one label, 'a'"),
    "one label of a llm": (LLM, {"label": ["a"] * 40}, "DataError: column 'label': has only one label, 'a'"),
    "missing label": (LLM, {"label": [*"ab" * 19, "a", None]}, "DataError: column 'label', row 39: is missing"),
    "no number to predict": (ECD | SIZE, {"size": ["x"] * 40}, "DataError: column 'size', row"),
    "no number to read": (ECD | SIZE_READ, {"size": [*range(39), "x"]}, "column 'size', row 39: 'x' is not a number"),
    "no number for a llm": (LLM | SIZE, {"size": [*range(39), "x"]}, "column 'size', row 39: 'x' is not a number"),
    "a text too long": (LLM | NOTE, {"label": [*"a" * 39, "word " * 9000]}, "row 39: the answer has 9002 tokens"),
    "placeholder": (LLM | {"prompt": {"template": "{texd}"}}, {}, "ConfigError: config: prompt.template: there is no"),
    "unknown base": (
        LLM | {"base_model": "startr"},
        {},
        "ModelError: config: base_model: there is no folder 'startr'",
    ),
    "a reward without its run": (
        LLM | NOTE | RATED,
        {},
        "RunError: config: trainer.rewards[0]: nowhere does not",
    ),
    "no base in a folder": (LLM | {"base_model": "."}, {}, "is not a model folder: it has no config.json"),
}
TRIAL = """
import json, sys
import numpy, pandas, pyarrow
from time import perf_counter
from declarlm import DeclarLM, DeclarlmError

for name, (config, changes, _) in json.loads(sys.stdin.read()).items():
    rows = {column: cells for column, cells in {**ROWS, **changes}.items() if cells is not None}
    start = perf_counter()
    try:
        DeclarLM(config).train(rows, output="runs")
        said = "nothing"
    except DeclarlmError as error:
        said = f"{type(error).__name__}: {error}"
    loaded = sorted({"torch", "transformers", "peft"} & set(sys.modules))
    print(json.dumps([name, said, perf_counter() - start, loaded]))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("early")
    script = f"ROWS = {ROWS!r}\n{TRIAL}"
    trial = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(CASES), cwd=folder, capture_output=True, text=True, check=True
    )
    left = sorted(path.name for path in folder.rglob("*"))
    return {name: (*rest, left) for name, *rest in map(json.loads, trial.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_told_at_once(told, name):
    said, seconds, loaded, left = told[name]
    assert CASES[name][2] in said
    assert loaded == []
    assert seconds < 1
    assert left == []
