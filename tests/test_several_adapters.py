"""Several adapters on one base: trained apart, then one model."""

import time
from pathlib import Path

import pandas as pd
import pytest
from small_bases import save_tiny_llama

from declarlm import DeclarLM
from declarlm.core import ConfigError, DataError, ModelError

pytestmark = pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")

COLORS, ANIMALS = ["red", "white", "brown"], ["dog", "pig", "fox"]
ROWS = pd.DataFrame(
    [{"note": f"the {color} {animal} sat", "color": color, "animal": animal} for color in COLORS for animal in ANIMALS]
)


def config(base, output, kind="lora", **changes):
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [output],
        "prompt": {"template": f"{{{{ note }}}}: which {output['name']}?"},
        "adapter": {"type": kind, "r": 4},
        "trainer": {"epochs": 4, "batch_size": 4, "learning_rate": 0.01},
        "preprocessing": {"split": {"type": "random", "probabilities": [0.7, 0.3, 0.0]}},
        "generation": {"max_new_tokens": 4},
        **changes,
    }


OUTPUTS = {"color": {"name": "color", "type": "category"}, "animal": {"name": "animal", "type": "text"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a base and two runs that were trained on it."""
    folder = tmp_path_factory.mktemp("several")
    base = save_tiny_llama(folder / "base")
    for name, kind in (("color", "lora"), ("animal", "dora")):
        DeclarLM(config(base, OUTPUTS[name], kind)).train(ROWS, output=folder / "runs", name=name)
    return folder


@pytest.fixture
def together(place):
    adapters = {name: str(place / "runs" / name) for name in ("color", "animal")}
    return {"base_model": str(place / "base"), "adapters": adapters}


def alone(place, name):
    return DeclarLM.load(place / "runs" / name)


def test_each_adapter_answers_as_in_its_own_run(place, together):
    model = DeclarLM(together)
    assert (model.adapters, model.adapter) == (["color", "animal"], "color")
    for name in ("animal", "color"):
        expected = alone(place, name).predict(ROWS)
        pd.testing.assert_frame_equal(model.predict(ROWS, adapter=name), expected)
        pd.testing.assert_frame_equal(model.use(name).predict(ROWS), expected)
        assert model.evaluate(ROWS).metrics == alone(place, name).evaluate(ROWS).metrics


def test_without_an_adapter_it_is_the_base(place, together):
    plain = {
        key: value
        for key, value in config(str(place / "base"), OUTPUTS["animal"]).items()
        if key in ("base_model", "input_features", "output_features", "prompt", "generation")
    }
    expected = DeclarLM(plain).predict(ROWS)
    together = {**plain, "adapters": together["adapters"]}
    model = DeclarLM(together)
    assert not model.predict(ROWS).equals(expected)
    pd.testing.assert_frame_equal(model.use(None).predict(ROWS), expected)
    assert model.adapter is None
    pd.testing.assert_frame_equal(model.use("color").predict(ROWS, adapter="base"), expected)


def test_the_base_is_measured_on_what_the_first_run_reads(together, tmp_path):
    whole = DeclarLM({**together, "adapter_column": "task"}).evaluate(ROWS.assign(task="base")).metrics
    model = DeclarLM(together).use(None)
    assert model.evaluate(ROWS).metrics == whole
    assert whole["color"]["loss"] == whole["combined"]["loss"] > 0
    model.save(tmp_path / "both")
    assert DeclarLM.load(tmp_path / "both").use(None).evaluate(ROWS).metrics == whole


def test_a_column_picks_the_adapter_of_each_row(place, together):
    rows = pd.concat([ROWS, ROWS], ignore_index=True)
    rows["task"] = ["color", "animal", "animal", "base", "color", "animal"] * 3
    rows.index = pd.Index([7, 3] * 9, name="row")
    found = DeclarLM({**together, "adapter_column": "task"}).predict(rows)
    assert found.index.equals(rows.index)
    model = DeclarLM(together)
    for name in ("color", "animal", "base"):
        chosen = (rows["task"] == name).to_numpy()
        expected = model.predict(rows.iloc[chosen], adapter=name)
        part = found.iloc[chosen]
        for column in found.columns:
            if column in expected.columns:
                assert part[column].tolist() == expected[column].tolist()
            else:
                assert part[column].isna().all()


def test_metrics_of_several_adapters_are_apart(place, together):
    rows = ROWS.assign(task=["color", "animal", "color"] * 3)
    found = DeclarLM({**together, "adapter_column": "task"}).evaluate(rows)
    expected = DeclarLM(together).evaluate(rows.iloc[1::3], adapter="animal")
    assert found.metrics["animal.animal"] == expected.metrics["animal"]
    assert {"color.color", "color.combined", "animal.animal", "animal.combined"} == set(found.metrics)
    assert len(found.predictions) == len(rows)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("colour", "no adapter is named 'colour' (did you mean 'color'?), choose from: animal, base, color"),
        (None, "is empty, and must name an adapter: choose from: animal, base, color"),
    ],
)
def test_a_cell_that_names_no_adapter_is_refused(cell, message, together):
    rows = ROWS.assign(task=["color"] * 4 + [cell] + ["animal"] * 4)
    rows.index = [f"r{place}" for place in range(len(rows))]
    with pytest.raises(DataError) as caught:
        DeclarLM({**together, "adapter_column": "task"}).predict(rows)
    assert str(caught.value) == f"column 'task', row r4: {message}"


def test_an_unknown_adapter_is_refused(place, together):
    for choose in (lambda model: model.use("colour"), lambda model: model.predict(ROWS, adapter="colour")):
        with pytest.raises(ModelError) as caught:
            choose(DeclarLM(together))
        assert str(caught.value) == (
            "no adapter is named 'colour' (did you mean 'color'?), choose from: animal, base, color"
        )
    with pytest.raises(ModelError, match="there are no adapters to choose from; name trained ones under adapters"):
        alone(place, "color").use("color")


def test_a_saved_model_needs_none_of_the_runs(place, together, tmp_path):
    import shutil

    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    model = DeclarLM({**together, "adapters": {name: str(runs / name) for name in ("color", "animal")}})
    model.save(tmp_path / "both")
    expected = {name: model.predict(ROWS, adapter=name) for name in ("color", "animal", "base")}
    shutil.rmtree(runs)
    (tmp_path / "both").rename(tmp_path / "moved")
    loaded = DeclarLM.load(tmp_path / "moved")
    for name, predictions in expected.items():
        pd.testing.assert_frame_equal(loaded.predict(ROWS, adapter=name), predictions)


def test_adapters_without_a_run_read_as_the_config_says(place, together, tmp_path):
    folder = str(place / "runs" / "animal" / "model" / "adapter")
    own = config(str(place / "base"), OUTPUTS["animal"])
    del own["adapter"], own["trainer"]
    section = {"type": "dora", "pretrained_adapter_weights": folder}
    model = DeclarLM({**own, "adapters": {"plain": folder, "section": section}})
    expected = alone(place, "animal").predict(ROWS)
    for name in ("plain", "section"):
        pd.testing.assert_frame_equal(model.predict(ROWS, adapter=name), expected)
    model.save(tmp_path / "saved")
    pd.testing.assert_frame_equal(DeclarLM.load(tmp_path / "saved").predict(ROWS), expected)
    # Without features of its own, the config reads as its active adapter's run does.
    model = DeclarLM({**together, "adapters": {"plain": folder, **together["adapters"]}, "active_adapter": "animal"})
    pd.testing.assert_frame_equal(model.predict(ROWS, adapter="plain"), expected)


def test_adapters_are_merged_by_the_config(place, together, tmp_path):
    DeclarLM(config(str(place / "base"), OUTPUTS["color"], seed=5)).train(ROWS, output=tmp_path, name="other")
    adapters = {"one": str(place / "runs" / "color"), "two": str(tmp_path / "other")}
    whole = {"sources": ["one", "two"], "weights": [1.0, 0.0]}
    half = {"sources": ["one", "two"], "combination_type": "dare_linear", "density": 0.7, "seed": 3}
    model = DeclarLM({"base_model": str(place / "base"), "adapters": {"whole": whole, **adapters, "half": half}})
    expected = alone(place, "color").predict(ROWS)
    found = model.predict(ROWS, adapter="whole")
    assert found["color_predictions"].tolist() == expected["color_predictions"].tolist()
    assert found["color_probability"].to_numpy() == pytest.approx(expected["color_probability"].to_numpy(), abs=1e-5)
    assert not model.predict(ROWS, adapter="half").equals(expected)
    model.save(tmp_path / "merged")
    loaded = DeclarLM.load(tmp_path / "merged")
    pd.testing.assert_frame_equal(loaded.predict(ROWS, adapter="half"), model.predict(ROWS, adapter="half"))


def test_a_run_on_another_base_is_refused(place, together, tmp_path):
    other = save_tiny_llama(tmp_path / "other", context_length=32)
    with pytest.raises(ModelError) as caught:
        DeclarLM({**together, "base_model": other}).predict(ROWS)
    assert str(caught.value) == (
        f"adapters.color: {place / 'runs' / 'color'} was trained on {place / 'base'}, which is not the same as "
        f"{other}; write that as base_model, and the adapters of one base together"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": "lora"}, "adapters: cannot stand beside adapter: adapters are trained already, adapter is to be"),
        ({"trainer": {"type": "finetune"}}, "trainer.type: must be none with adapters, which are trained already"),
        ({"active_adapter": "colour"}, "active_adapter: no adapter is named 'colour' (did you mean 'color'?), choose"),
        ({"adapters": {}, "adapter_column": "task"}, "adapter_column: is for several adapters; name them under adap"),
        ({"adapters": {"base": "x"}}, "adapters.base: is what the base without any adapter is called; choose another"),
        ({"adapters": {"a/b": "x"}}, "adapters.a/b: cannot be a name; use up to 64 of A-Z a-z 0-9 . _ - and no dot"),
        ({"adapters": {"a": {}}}, "adapters.a: needs pretrained_adapter_weights, or sources (to merge others), and"),
        (
            {"adapters": {"a": {"weihts": [1]}}},
            "adapters.a.weihts: no parameter is named 'weihts' (did you mean 'weights'?)",
        ),
        ({"adapters": {"a": "x", "b": {"sources": ["a"]}}}, "adapters.b.sources: must name at least two adapters to"),
        (
            {"adapters": {"a": "x", "b": {"sources": ["a", "c"]}}},
            "adapters.b.sources[1]: no trained adapter is named 'c'",
        ),
        (
            {"adapters": {"a": "x", "b": {"sources": ["a", "a"], "weights": [1.0]}}},
            "adapters.b.weights: must be one for each of 2 adapters, got 1",
        ),
        (
            {"adapters": {"a": "x", "b": {"sources": ["a", "a"], "density": 0.2}}},
            "adapters.b.density: has no effect with 'cat'; leave it out, or choose ties or dare",
        ),
        (
            {"adapters": {"a": {"pretrained_adapter_weights": "x", "seed": 3}}},
            "adapters.a.seed: is for an adapter that",
        ),
        (
            {"adapters": {"a": {"type": "lore", "pretrained_adapter_weights": "x"}}},
            "adapters.a.type: no adapter is named",
        ),
    ],
)
def test_wrong_sections_are_refused(changes, message):
    with pytest.raises(ConfigError) as caught:
        DeclarLM({"base_model": "starter", "input_features": [], "adapters": {"color": "x"}, **changes})
    assert any(str(problem).startswith(message) for problem in caught.value.problems), str(caught.value)


def test_switching_takes_less_than_50_milliseconds_on_the_starter(tmp_path):
    base = "starter"
    rows = ROWS.head(4)
    for name in ("color", "animal"):
        changes = {"trainer": {"train_steps": 2, "batch_size": 2}}
        DeclarLM(config(base, OUTPUTS[name], **changes)).train(rows, output=tmp_path, name=name)
    model = DeclarLM({"base_model": base, "adapters": {name: str(tmp_path / name) for name in ("color", "animal")}})
    model.predict(rows)
    seconds = []
    for name in ("animal", "color", None) * 3:
        start = time.perf_counter()
        chosen = model.use(name)._under(model._ready(), name or "base")
        seconds.append(time.perf_counter() - start)
        assert chosen.module.backbone.training is False
    assert max(seconds) < 0.05
    assert model.use("animal").predict(rows).columns.tolist() == ["animal_predictions", "animal_response"]
