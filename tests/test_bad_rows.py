"""What wrong rows get: column, row and remedy, before any weights are loaded, and nothing left behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from declarlm import DataError, DeclarLM, ModelError
from declarlm.cli import main

LLM = """\
base_model: starter
input_features:
  - {name: text, type: text}
output_features:
  - {name: label, type: category}
adapter: {type: lora, r: 8}
trainer: {epochs: 3}
"""


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROWS = pd.DataFrame(
    {"text": [f"message {i}" for i in range(40)], "label": ["ham", "spam"] * 20, "age": [str(i) for i in range(40)]}
)
OLD = ROWS.assign(age=["n/a" if row == 17 else str(row) for row in range(40)])
GAP = ROWS.assign(label=[None if row == 7 else label for row, label in enumerate(ROWS["label"])])
LONG = ROWS.assign(label=["word " * 700 if row == 5 else label for row, label in enumerate(ROWS["label"])])
DROP = "; write preprocessing.missing_value_strategy: drop_row to leave such rows out"

BAD_ROWS = {
    "a missing input column": ({}, ROWS[["label"]], "the table: no column is named 'text', choose from: label"),
    "a missing output column": ({}, ROWS[["text"]], "the table: no column is named 'label', choose from: text"),
    "no rows": ({}, ROWS.head(0), "the table has no rows"),
    "one label": (
        {},
        ROWS.assign(label="ham"),
        "column 'label': has only one label, 'ham' in 28 training rows; two are needed",
    ),
    "a missing label": ({}, GAP, f"column 'label', row 7: is missing{DROP}"),
    "no label at all": ({}, ROWS.assign(label=None), "column 'label': is missing in every row"),
    "a number that is none": (
        {"output_features": [{"name": "age", "type": "number"}]},
        OLD,
        "column 'age', row 17: 'n/a' is not a number; add \"n/a\" to preprocessing.missing_values or clean the column",
    ),
    "no table": (
        {},
        None,
        "a dataset is a DataFrame, a dict of lists, a list of dicts, an Arrow table, a path, a glob or hf://, "
        "got NoneType",
    ),
    "a missing file": ({}, "rows.csv", "there is no file rows.csv"),
    "a folder": ({}, ".", ". is a folder; name its files, for instance *.csv"),
    "a missing split column": (
        {"preprocessing": {"split": {"type": "fixed", "column": "part"}}},
        ROWS,
        "preprocessing.split: no column is named 'part', choose from: age, label, text",
    ),
}
LLM_ROWS = {
    "an answer longer than the context": (
        {"output_features": [{"name": "label", "type": "text"}]},
        LONG,
        "column 'label', row 5: the answer has 2102 tokens, and 512 fit with its prompt; shorten it, raise "
        "preprocessing.global_max_sequence_length if the model allows it, or set preprocessing.overlong: drop",
    ),
}


@pytest.fixture(scope="module")
def unloadable(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base model whose weights cannot be loaded, so that a test fails where loading is tried."""
    folder = tmp_path_factory.mktemp("bases") / "unloadable"
    shutil.copytree(shared / "models" / "stories260K", folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    return str(folder)


def config(kind: str, base: str, changes: dict[str, Any]) -> dict[str, Any]:
    plain = {
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "label", "type": "category"}],
    }
    return {**plain, **({"base_model": base, "adapter": "lora"} if kind == "llm" else {}), **changes}


CASES = [(kind, mistake) for kind in ("llm", "ecd") for mistake in BAD_ROWS] + [("llm", name) for name in LLM_ROWS]


@pytest.mark.parametrize(("kind", "mistake"), CASES)
def test_bad_rows_are_refused_before_weights_are_loaded(kind, mistake, unloadable, inside):
    changes, dataset, message = {**BAD_ROWS, **LLM_ROWS}[mistake]
    with pytest.raises(DataError) as caught:
        DeclarLM(config(kind, unloadable, changes)).train(dataset)
    assert str(caught.value) == message
    assert not list(inside.iterdir())


def test_good_rows_reach_the_weights(unloadable, inside):
    with pytest.raises(ModelError, match="cannot be loaded"):
        DeclarLM(config("llm", unloadable, {})).train(ROWS)
    assert not list(inside.iterdir())


@pytest.mark.parametrize("template", ["{{ txet }} ->", "{txet} ->"])
def test_a_placeholder_without_a_column_is_placed_in_the_file(template, unloadable, inside, capsys):
    base = LLM.replace("starter", unloadable)
    Path("my.yaml").write_text(f'{base}prompt:\n  task: null\n  template: "{template}"\n')
    ROWS.to_csv("rows.csv", index=False)
    message = "my.yaml:10: prompt.template: there is no column 'txet' (did you mean 'text'?), choose from: "
    with pytest.raises(SystemExit) as left:
        main(["train", "-c", "my.yaml", "--dataset", "rows.csv", "--quiet"])
    assert left.value.code == 2
    assert capsys.readouterr().err == f"{message}age, text\n"
    assert sorted(path.name for path in inside.iterdir()) == ["my.yaml", "rows.csv"]


def test_bad_rows_leave_by_the_exit_code_for_data(unloadable, inside, capsys):
    Path("my.yaml").write_text(LLM.replace("starter", unloadable))
    GAP.to_csv("rows.csv", index=False)
    with pytest.raises(SystemExit) as left:
        main(["train", "-c", "my.yaml", "--dataset", "rows.csv"])
    assert left.value.code == 3
    assert capsys.readouterr() == ("", f"column 'label', row 7: is missing{DROP}\n")
    assert not (inside / "runs").exists()
