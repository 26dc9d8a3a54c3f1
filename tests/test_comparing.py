"""A tuned model beside its base: figures, answers, what was forgotten, and what has no base."""

import json

import pandas as pd
import pytest
from small_bases import TEXTS, save_tiny_llama

from declarlm import DeclarLM
from declarlm.cli import main
from declarlm.core import DataError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")

COLORS = ["red", "white", "brown"]
ROWS = pd.DataFrame([{"note": color, "color": color} for color in COLORS * 6])


def config(base, **changes):
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": {"type": "lora", "r": 8, "dropout": 0},
        "trainer": {"epochs": 12, "batch_size": 6, "learning_rate": 0.01, "validation_metric": "loss"},
        **changes,
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def runs(base, tmp_path_factory):
    """Runs of an adapter, of one that is merged, and of all weights."""
    folder = tmp_path_factory.mktemp("runs")
    merged = {"adapter": {"type": "lora", "r": 8, "postprocessor": {"merge_adapter_into_base_model": True}}}
    for name, changes in (("adapter", {}), ("merged", merged), ("whole", {"adapter": None})):
        rows = {"validation": ROWS, "test": ROWS}
        DeclarLM(config(base, **changes)).train(ROWS, **rows, output=folder, name=name)
    return folder


@pytest.mark.parametrize("name", ["adapter", "merged", "whole"])
def test_the_base_answers_as_if_it_had_not_been_trained(base, runs, name):
    untrained = {**config(base), "adapter": None, "trainer": {"type": "none"}}
    alone = DeclarLM(untrained)
    alone.train(ROWS, validation=ROWS, output=runs, name="untrained")
    expected = alone.evaluate(ROWS)
    model = DeclarLM.load(runs / name)
    found = model.compare(ROWS, samples=100)
    assert found.metrics["base"]["color"] == pytest.approx(expected.metrics["color"], abs=1e-5)
    assert found.metrics["tuned"] == model.evaluate(ROWS).metrics, "and the tuned one is as before"
    assert found.metrics["tuned"]["color"]["loss"] < found.metrics["base"]["color"]["loss"] - 0.1
    answers = found.samples.sort_index()
    assert answers.color_base.tolist() == expected.predictions.color_predictions.tolist()
    assert answers.color_tuned.tolist() == model.predict(ROWS).color_predictions.tolist()
    assert answers.color.tolist() == ROWS.color.tolist()
    assert found.changed == {"color": int((answers.color_base != answers.color_tuned).sum())}


def test_samples_begin_where_the_answers_differ(runs):
    found = DeclarLM.load(runs / "adapter").compare(ROWS, samples=4)
    assert list(found.samples.columns) == ["note", "color", "color_base", "color_tuned"]
    assert len(found.samples) == 4
    assert (found.samples.color_base != found.samples.color_tuned).sum() == min(4, found.changed["color"])


def test_what_was_forgotten_is_the_loss_on_other_text(runs, base, tmp_path):
    (tmp_path / "general.txt").write_text("\n".join(TEXTS))
    found = DeclarLM.load(runs / "adapter").compare(ROWS, general=tmp_path / "general.txt").forgetting
    reader = {"base_model": base, "input_features": [{"name": "text", "type": "text"}], "output_features": []}
    plain = DeclarLM({**reader, "trainer": {"type": "pretrain", "train_steps": 1, "learning_rate": 1e-12}})
    texts = pd.DataFrame({"text": ["\n".join(TEXTS)]})  # the lines of a text file are one text
    expected = plain.train(texts, validation=texts, test=texts, output=tmp_path).metrics["test"]["combined"]["loss"]
    assert found.base == pytest.approx(expected, abs=1e-4)
    assert abs(found.tuned - found.base) > 1e-3
    assert found.sentence.startswith(f"loss on {found.tokens} tokens of general text: base {found.base:.4f}, tuned ")


def test_general_text_is_one_column(runs):
    model = DeclarLM.load(runs / "adapter")
    with pytest.raises(DataError, match="general text needs one column, or one that is named text; got: a, b"):
        model.compare(ROWS, general=pd.DataFrame({"a": ["x"], "b": ["y"]}))
    with pytest.raises(DataError, match="has no general text in any row"):
        model.compare(ROWS, general=pd.DataFrame({"text": [None, " "]}))


def test_what_has_no_base_is_said(base, tmp_path):
    heads = {"input_features": [{"name": "note", "type": "text"}]}
    heads["output_features"] = [{"name": "color", "type": "category"}]
    with pytest.raises(ModelError, match="heads of an encoder are made by training, so there is no base"):
        DeclarLM(heads).compare(ROWS)
    with pytest.raises(ModelError, match="'none' trains nothing: the model is its base"):
        DeclarLM(config(base, adapter=None, trainer={"type": "none"})).compare(ROWS)


def test_the_command_line_shows_both(runs, tmp_path, capfd):
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "general.txt").write_text("\n".join(TEXTS))
    arguments = ["evaluate", str(runs / "adapter"), "--dataset", str(tmp_path / "rows.csv"), "--compare", "base"]
    arguments += ["--general", str(tmp_path / "general.txt"), "--samples", "2"]

    def told(*more):
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([*arguments, *more])
        return left.value.code, capfd.readouterr()

    code, (shown, _) = told()
    assert code == 0
    assert shown.splitlines()[0].split() == ["base", "tuned"]
    assert "of 18 answers differ" in shown
    assert "tokens of general text" in shown
    assert shown.count("color_tuned  ") == 2
    found = json.loads(told("--json")[1].out)
    assert set(found) == {"metrics", "rows", "changed", "forgetting", "samples"}
    assert len(found["samples"]) == 2
    code, (_, error) = told("--output", str(tmp_path / "x.csv"))
    assert code == 2
    assert "write predictions without --compare" in error
