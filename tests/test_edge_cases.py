"""What goes wrong at the edges of a table: gaps, lengths, columns that are not there, one row alone."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_bases import save_tiny_llama

from declarlm import ConfigError, DataError, DeclarLM
from declarlm.core.errors import DiskError

ROWS = pd.DataFrame(
    [
        {"note": f"the {color} {animal} sat", "size": float(row), "color": color, "animal": animal}
        for row, (color, animal) in enumerate(
            [(color, animal) for color in ("red", "white") for animal in ("dog", "pig", "fox", "cow")] * 3
        )
    ]
)
ALL_TRAIN = {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}}


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


@pytest.fixture
def llm(llama, tmp_path):
    """Makes or trains a language model of two steps; keywords change its config."""

    def make(table: pd.DataFrame | None = ROWS, **changes: object) -> DeclarLM:
        config = {
            "base_model": llama,
            "input_features": [{"name": "note", "type": "text"}],
            "output_features": [{"name": "animal", "type": "category"}],
            "prompt": {"template": "{{ note }}. What?"},
            "adapter": {"type": "lora", "r": 4},
            "trainer": {"train_steps": 2, "batch_size": 4},
            "generation": {"max_new_tokens": 4},
            **changes,
        }
        model = DeclarLM(config)
        return model if table is None else model.train(table, output=tmp_path).model

    return make


def ecd(table: pd.DataFrame, tmp_path, **changes: object) -> DeclarLM:
    config = {
        "model_type": "ecd",
        "input_features": [{"name": "note", "type": "text", "encoder": "tf_idf"}, {"name": "size", "type": "number"}],
        "output_features": [{"name": "animal", "type": "category"}],
        "trainer": {"train_steps": 2, "batch_size": 4},
        **changes,
    }
    return DeclarLM(config).train(table, output=tmp_path).model


def note(**preprocessing: object) -> list[dict[str, object]]:
    return [{"name": "note", "type": "text", "preprocessing": preprocessing}]


def with_gap(column: str, row: int = 3) -> pd.DataFrame:
    return ROWS.assign(**{column: ROWS[column].astype(object).where(ROWS.index != row, None)})


def test_a_missing_text_is_empty_in_a_prompt(llm, tmp_path):
    model = llm(with_gap("note"))
    expected = model.predict(ROWS.head(4).assign(note=[*ROWS["note"].head(3), ""]))
    pd.testing.assert_frame_equal(model.predict(with_gap("note").head(4)), expected)
    model.save(tmp_path / "copy")
    pd.testing.assert_frame_equal(DeclarLM.load(tmp_path / "copy").predict(with_gap("note").head(4)), expected)


def test_a_missing_text_is_filled_by_what_training_rows_showed(llm, tmp_path):
    often = with_gap("note").assign(note=lambda table: table["note"].mask(table.index % 2 == 0, "the often one"))
    model = llm(often, input_features=note(missing_value_strategy="fill_with_mode"))
    model.save(tmp_path / "copy")
    for one in (model, DeclarLM.load(tmp_path / "copy")):
        filled = one.predict([{"note": None}])
        pd.testing.assert_frame_equal(filled, one.predict([{"note": "the often one"}]))


def test_a_model_without_training_reads_a_missing_text(llm):
    labels = [{"name": "animal", "type": "category", "preprocessing": {"labels": ["dog", "cow"]}}]
    model = llm(None, output_features=labels, adapter=None, trainer={"type": "none"})
    assert len(model.predict([{"note": None}, {"note": "a"}])) == 2
    judged = model.evaluate(ROWS[ROWS["animal"].isin(["dog", "cow"])])
    assert 0 <= judged.metrics["animal"]["accuracy"] <= 1
    assert np.isfinite(judged.metrics["combined"]["loss"])


def test_the_same_rows_read_in_another_way_are_other_tokens(llm):
    loud = ROWS.assign(note=ROWS["note"].str.upper())
    plain, lower = llm(loud), llm(loud, input_features=note(lowercase=True))
    filled = llm(with_gap("note"), input_features=note(fill_value="nothing here"))
    empty = llm(with_gap("note"))
    stored = [model._model.encode(table).tokens.ids.values for model, table in [(plain, loud), (lower, loud)]]
    assert len(stored[0]) != len(stored[1])
    gaps = [model._model.encode(with_gap("note")).tokens.ids.values for model in (filled, empty)]
    assert len(gaps[0]) > len(gaps[1])


def test_labels_that_became_rare_are_other_answers(llm):
    fallback = {"most_common": 2, "fallback_label": "other"}
    outputs = [{"name": "animal", "type": "category", "preprocessing": fallback}]
    table = ROWS[ROWS["animal"].isin(["dog", "pig", "fox"])]
    others = [table[table["animal"] != rare] for rare in ("dog", "fox")]
    one, other = (llm(pd.concat([part, part]), output_features=outputs, preprocessing=ALL_TRAIN) for part in others)
    row = pd.DataFrame([{"note": "a", "animal": "dog"}])
    stored = [model._model.encode(row).tokens.ids.values.tolist() for model in (one, other)]
    assert one._model.outputs[0].answers(row["animal"]) == ["other"]
    assert other._model.outputs[0].answers(row["animal"]) == ["dog"]
    assert stored[0] != stored[1]


@pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")
def test_rows_that_cannot_fit_are_an_error_even_after_they_were_dropped(llm):
    long = ROWS.assign(color=["red " * 80 if row % 12 == 0 else "red" for row in range(len(ROWS))])
    changes = {"output_features": [{"name": "color", "type": "text"}]}
    model = llm(long, preprocessing={**ALL_TRAIN, "overlong": "drop"}, **changes)
    assert len(model._model.encode(long)) == 22
    assert len(model.predict(long)) == 24
    assert len(model.evaluate(long).predictions) == 24
    with pytest.raises(DataError, match="column 'color', row 0: the answer has 82 tokens"):
        llm(long, preprocessing=ALL_TRAIN, **changes)


def test_a_table_of_which_no_row_fits_is_an_error(llm, tmp_path):
    with pytest.raises(DataError) as caught:
        llm(preprocessing={**ALL_TRAIN, "overlong": "drop"}, prompt={"template": "{{ note }} " + "too long " * 40})
    assert str(caught.value) == (
        "none of 24 rows fits into 64 tokens, and all were dropped; shorten prompt or answers, "
        "or raise preprocessing.global_max_sequence_length if the model allows it"
    )
    assert not list(tmp_path.iterdir())


def test_a_long_prompt_leaves_room_for_every_answer(llm):
    outputs = [{"name": "color", "type": "text"}, {"name": "animal", "type": "category"}]
    model = llm(output_features=outputs, prompt={"template": "{{ note }}.", "answer": "It is {color} and a {animal}"})
    inner = model._model
    prompts = inner.prompts(pd.DataFrame({"note": ["very long " * 100]})).ids
    needed = int(inner.encode(ROWS).supervised.max())
    assert len(prompts[0]) == inner.max_length - needed
    assert model.predict([{"note": "very long " * 100}])["animal_predictions"].isin(ROWS["animal"]).all()


def test_a_long_prompt_leaves_room_for_labels_without_training(llm):
    labels = [{"name": "animal", "type": "category", "preprocessing": {"labels": ["dog", "elephant"]}}]
    model = llm(None, output_features=labels, adapter=None, trainer={"type": "none"})
    model.predict([{"note": "very long " * 100}])
    inner = model._model
    assert inner.reserve == len(inner.encoder.answer_ids("animal", "elephant", last=True)) > 1
    text = llm(None, output_features=[{"name": "color", "type": "text"}], adapter=None, trainer={"type": "none"})
    assert len(text.predict([{"note": "very long " * 100}])["color_predictions"][0]) > 1


def test_judging_needs_the_column_and_predicting_does_not(llm):
    model = llm()
    assert len(model.predict(ROWS[["note"]])) == 24
    with pytest.raises(DataError, match="the table: no column is named 'animal', choose from: note"):
        model.evaluate(ROWS[["note"]])


@pytest.mark.parametrize("kind", ["llm", "ecd"])
def test_rows_without_a_label_are_predicted_but_not_judged(llm, tmp_path, kind):
    outputs = [{"name": "animal", "type": "category", "preprocessing": {"missing_value_strategy": "drop_row"}}]
    table = with_gap("animal", 5).set_axis([0] * 24)
    model = llm(table, output_features=outputs) if kind == "llm" else ecd(table, tmp_path, output_features=outputs)
    judged = model.evaluate(table)
    whole = model.evaluate(table[table["animal"].notna()])
    assert len(judged.predictions) == 24
    assert judged.metrics == whole.metrics
    with pytest.raises(DataError, match="column 'animal': has no label in any row that can be judged"):
        model.evaluate(table.iloc[[5]])


def test_a_label_unseen_in_training_counts_as_wrong(llm, tmp_path):
    for model in (llm(), ecd(ROWS, tmp_path)):
        judged = model.evaluate(ROWS.head(4).assign(animal=["unicorn"] * 4))
        assert judged.metrics["animal"]["accuracy"] == 0
        assert len(judged.predictions) == 4


@pytest.mark.parametrize("kind", ["llm", "ecd"])
def test_names_of_columns_may_be_numbers(llm, tmp_path, kind):
    table = ROWS.rename(columns={"note": 0, "size": 1, "animal": 2})
    inputs = [{"name": "note", "column": "0", "type": "text"}, {"name": "size", "column": "1", "type": "number"}]
    changes = {"input_features": inputs, "output_features": [{"name": "animal", "column": "2", "type": "category"}]}
    model = llm(table, **changes) if kind == "llm" else ecd(table, tmp_path, **changes)
    assert len(model.predict(table[[0, 1]])) == 24
    assert "accuracy" in model.evaluate(table).metrics["animal"]


def test_a_number_is_the_same_in_a_prompt_however_it_is_written(llm):
    sizes = {"input_features": [*note(), {"name": "size", "type": "number"}]}
    model = llm(prompt={"template": "{{ note }} {{ size }}."}, **sizes)
    rows = pd.DataFrame({"note": ["a"] * 4, "size": [1.0, 0.5, -3.0, np.nan]})
    written = rows.assign(size=["1.0", "0.50", "-3", None])
    pd.testing.assert_frame_equal(model.predict(written), model.predict(rows))
    whole = rows.assign(size=pd.array([1, 2, 3, None], dtype="Int64"))
    assert [cells["size"] for cells in model._model.cells(whole)] == ["1", "2", "3", ""]


def test_a_single_row_can_be_trained_on(llm, tmp_path):
    one = ROWS.head(1)
    model = llm(one, output_features=[{"name": "color", "type": "text"}], preprocessing=ALL_TRAIN)
    assert len(model.predict(one)) == 1
    number = [{"name": "size", "type": "number"}]
    heads = ecd(one, tmp_path, input_features=note(), output_features=number, preprocessing=ALL_TRAIN)
    assert len(heads.predict(one)) == 1
    with pytest.raises(DataError, match="only one label, 'dog' in 1 training rows; two are needed"):
        ecd(one, tmp_path, preprocessing=ALL_TRAIN)


SPLIT = {"preprocessing": {"split": {"type": "fixed", "column": "part"}}}


def test_a_metric_that_is_undefined_on_the_validation_rows_does_not_decide(tmp_path):
    parts = ROWS.assign(part=["train"] * 20 + ["validation"] * 4, sold=["yes", "no"] * 10 + ["no"] * 4)
    config = {
        "model_type": "ecd",
        "input_features": [{"name": "note", "type": "text", "encoder": "tf_idf"}],
        "output_features": [{"name": "sold", "type": "binary"}],
        "trainer": {"epochs": 8, "batch_size": 4, "early_stop": 3},
        **SPLIT,
    }
    notes: list[str] = []
    progress = SimpleNamespace(step=str, evaluation=str, note=notes.append, about=str, close=str)
    history = DeclarLM(config).train(parts, output=tmp_path, progress=progress).history
    assert "sold.roc_auc is undefined on the validation rows, so their loss decides" in notes
    assert history["metrics.sold.roc_auc"].isna().all()
    best = history["metrics.loss"].idxmin()
    assert history["is_best"][best]
    assert len(history) in (best + 1 + 3, 8)


def test_rare_labels_are_repeated_along_the_whole_path(tmp_path):
    outputs = [{"name": "animal", "type": "category"}, {"name": "price", "type": "number"}]
    table = ROWS.assign(animal=["dog"] * 20 + ["pig"] * 4, price=1.0)
    balanced = {**ALL_TRAIN, "oversample_minority": 1.0}
    ecd(table, tmp_path, output_features=outputs, preprocessing=balanced)
    assert json.loads((tmp_path / "run" / "data.json").read_text())["rows"]["train"] == 40
    both = [*outputs, {"name": "color", "type": "category"}]
    with pytest.raises(DataError, match="rows can be resampled for one category or binary output, the config has 2"):
        ecd(table, tmp_path, output_features=both, preprocessing=balanced)


def test_a_test_table_leaves_the_share_for_validation_as_it_was(tmp_path):
    for share, expected in ((0.0, (24, 0)), (0.25, (18, 6))):
        split = {"split": {"type": "random", "probabilities": [0.7 - share, share, 0.3]}}
        config = {
            "model_type": "ecd",
            "input_features": note(),
            "output_features": [{"name": "size", "type": "number"}],
            "trainer": {"train_steps": 1},
            "preprocessing": split,
        }
        run = DeclarLM(config).train(ROWS, test=ROWS.head(4), output=tmp_path).directory
        rows = json.loads((run / "data.json").read_text())["rows"]
        assert (rows["train"], rows["validation"], rows["test"]) == (*expected, 4)


def test_one_column_is_a_table(tmp_path):
    model = ecd(ROWS, tmp_path, input_features=note())
    column = ROWS["note"].set_axis(["x"] * 24)
    pd.testing.assert_frame_equal(model.predict(column), model.predict(column.to_frame()))


def test_generation_is_refused_where_nothing_is_generated(tmp_path):
    model = ecd(ROWS, tmp_path)
    with pytest.raises(ConfigError) as caught:
        model.predict(ROWS, generation={"max_new_tokens": 2})
    assert str(caught.value) == "generation: max_new_tokens: is for model_type 'llm', which writes text"


def test_a_model_cannot_be_saved_in_the_place_of_a_file(tmp_path):
    model = ecd(ROWS, tmp_path)
    (tmp_path / "taken").write_text("x")
    with pytest.raises(DiskError, match="taken"):
        model.save(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "x"


def test_a_model_from_scratch_has_no_adapter_and_no_bits(llm):
    shape = {"hidden_size": 16, "num_layers": 1, "num_heads": 2}
    with pytest.raises(ConfigError) as caught:
        llm(None, base_model=None, architecture=shape, quantization={"bits": 4})
    assert str(caught.value).splitlines() == [
        f"config: {part}: is for a pretrained base_model; all weights of an architecture are trained"
        for part in ("adapter", "quantization")
    ]


def test_a_model_from_scratch_leaves_no_base_behind(llm, tmp_path):
    shape = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "context_length": 64, "tokenizer": {"vocab_size": 280}}
    model = llm(base_model=None, architecture=shape, adapter=None)
    assert not (tmp_path / "run" / "base").exists()
    pd.testing.assert_frame_equal(DeclarLM.load(tmp_path / "run").predict(ROWS), model.predict(ROWS))
