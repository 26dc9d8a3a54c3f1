"""The quickstart: its rows, its configs, its whole way on a few rows."""

import runpy
import sys
from pathlib import Path

import pandas as pd
import pytest

from declarlm.config import load_config

FOLDER = Path(__file__).parents[1] / "examples" / "quickstart"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return runpy.run_path(str(FOLDER / "documentation.py"))["collect"]()


def test_rows_are_the_documentation_of_this_python(rows):
    assert len(rows) > 3000
    assert rows["family"].nunique() == 11
    assert not rows.duplicated(["name", "text", "body"]).any()
    shares = rows["part"].value_counts(normalize=True)
    assert 0.07 < shares["test"] < 0.13
    assert 0.07 < shares["validation"] < 0.13
    row = rows[(rows["name"] == "dedent") & (rows["family"] == "text")].iloc[0]
    assert row["summary"] == "Remove any common leading whitespace from every line in `text`."


@pytest.mark.parametrize("name", ["family", "summary"])
def test_configs_are_valid(name):
    config = load_config(FOLDER / f"{name}.yaml")
    assert config.model_type == "llm"
    assert [feature.name for feature in config.output_features] == [name]


def test_the_quickstart_tunes_and_compares(rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    quickstart = runpy.run_path(str(FOLDER / "quickstart.py"))
    few = rows.groupby("part").sample(64, random_state=1)
    answers, run = quickstart["tune"](few, "family")
    sys.modules.pop("documentation", None)
    test = few[few["part"] == "test"]
    assert {len(values) for values in answers.values()} == {len(test)}
    assert list(answers) == [
        "most frequent",
        "TF-IDF + logistic regression",
        "starter, zero-shot",
        "starter, tuned (LoRA)",
    ]
    assert (run / "STATUS").is_file()
    quickstart["show_scores"](test, "family", answers)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
