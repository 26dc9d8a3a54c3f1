"""The examples: their configs are valid, name the schema, and train a few steps."""

from pathlib import Path

import pandas as pd
import pytest

from declarlm import DeclarLM, load_config

FOLDER = Path(__file__).parents[1] / "examples"
CONFIGS = sorted(path for path in FOLDER.glob("*/*.yaml") if path.stem not in ("words", "phrases"))
ROWS = pd.DataFrame(
    {
        "text": [f"{word} {number}" for number in range(20) for word in ("Return a file", "Send a request")],
        "family": ["files", "internet"] * 20,
    }
)


def test_a_readme_of_an_example_fits_on_a_screen():
    for path in FOLDER.glob("*/README.md"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 20, path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_names_the_schema_and_is_valid(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == FOLDER.parent / "schemas" / "config.schema.json"
    load_config(path)


def test_the_sweep_over_lora_finds_a_best_trial(tmp_path):
    few = {"hyperopt.executor.num_samples": 3, "trainer.epochs": 2, "preprocessing.sample_size": 40}
    result = DeclarLM(FOLDER / "sweep_lora" / "config.yaml", overrides=few).hyperopt(ROWS, output=tmp_path)
    assert len(result.trials) == 3
    assert (result.trials["adapter.alpha"] == 2 * result.trials["adapter.r"]).all()
    assert set(result.best.model.predict(ROWS[:4]).family_predictions) <= {"files", "internet"}
    assert (result.directory / "report.html").is_file()
