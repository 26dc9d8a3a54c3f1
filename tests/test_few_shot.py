"""Models whose prompts show training rows: without training, tuned, saved and loaded."""

import pandas as pd
import pytest
from small_bases import save_tiny_bert, save_tiny_llama

from declarlm import DeclarLM
from declarlm.api.merging import merge_into_base
from declarlm.core import DataError, ModelError
from declarlm.core.errors import DeclarlmWarning

PARTS = {"subject": ["wine", "film", "cat"], "mood": ["good", "bad"], "place": ["on the mat", "and red", "was not"]}


def rows() -> pd.DataFrame:
    texts = [
        (f"the {mood} {subject} {place}", subject)
        for subject in PARTS["subject"]
        for mood in PARTS["mood"]
        for place in PARTS["place"]
    ]
    return pd.DataFrame(texts, columns=["text", "subject"])


def config(**changes):
    return {
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "subject", "type": "category"}],
        "prompt": {"retrieval": {"type": "random", "k": 2}},
        "preprocessing": {"split": {"type": "random", "probabilities": [0.7, 0.1, 0.2]}},
        **changes,
    }


def shown(model, table):
    """Return the examples in the prompt of each row."""
    found = []
    for preview in model.preview(table, rows=len(table)):
        cells = [span.text for span in preview.spans if span.role == "cell"]
        found.append(cells[0].split("\n\n")[:-1])
    return found


def test_a_model_without_training_shows_rows_of_the_training_split_alone(tmp_path):
    table = rows()
    run = DeclarLM(config()).train(table, output=tmp_path)
    kept = set(pd.read_json(run.directory / "model/retrieval/examples.json", typ="series")["inputs"])
    assert len(kept) == 12 < len(table)
    for text, examples in zip(table["text"], shown(run.model, table), strict=True):
        inputs = {example.split("\n")[0].removeprefix("text: ") for example in examples}
        assert len(inputs) == 2
        assert inputs <= kept - {text}
    loaded = DeclarLM.load(run.directory)
    whole = run.model.predict(table)
    pd.testing.assert_frame_equal(loaded.predict(table), whole)
    pd.testing.assert_series_equal(loaded.predict(table[7:8]).iloc[0], whole.iloc[7], rtol=1e-4)
    assert shown(loaded, table) == shown(run.model, table)


@pytest.mark.parametrize("kind", ["random", "semantic"])
def test_a_tuned_model_sees_examples_in_training_and_after_loading(tmp_path, kind):
    retrieval = {"type": kind, "k": 2}
    if kind == "semantic":
        retrieval["model_name"] = save_tiny_bert(tmp_path / "bert")
    given = config(base_model=save_tiny_llama(tmp_path / "llama", context_length=256), adapter={"type": "lora", "r": 2})
    given["prompt"] = {"template": "{context}\n\n{text}:", "retrieval": retrieval}
    run = DeclarLM({**given, "trainer": {"epochs": 1, "batch_size": 4}}).train(rows(), output=tmp_path / "runs")
    table = rows()
    pd.testing.assert_frame_equal(DeclarLM.load(run.directory).predict(table), run.model.predict(table))
    vectors = run.directory / "model/retrieval/vectors.safetensors"
    assert vectors.is_file() == (kind == "semantic")


def test_an_input_that_is_no_column_finds_examples_by_what_the_template_reads(tmp_path):
    given = config(input_features=[{"name": "prompt", "type": "text"}])
    given["prompt"] = {"template": "{context}\n\n{text} =>", "retrieval": {"type": "random", "k": 2}}
    table = rows()
    run = DeclarLM(given).train(table, output=tmp_path)
    for text, examples in zip(table["text"], shown(run.model, table), strict=True):
        assert len(examples) == 1  # the second one ends where the template goes on
        assert text not in examples[0]


def test_examples_stay_with_an_adapter_wherever_it_goes(tmp_path):
    given = config(base_model=save_tiny_llama(tmp_path / "llama", context_length=256), adapter={"type": "lora", "r": 2})
    given["trainer"] = {"epochs": 1, "batch_size": 4}
    table = rows()
    run = DeclarLM(given).train(table, output=tmp_path, name="few")
    expected = run.model.predict(table)
    named = DeclarLM({"base_model": given["base_model"], "adapters": {"few": str(run.directory)}})
    pd.testing.assert_frame_equal(named.predict(table, adapter="few"), expected)
    merge_into_base(run.directory, tmp_path / "merged")
    pd.testing.assert_frame_equal(DeclarLM.load(tmp_path / "merged").predict(table), expected, atol=1e-4)
    further = DeclarLM.load(run.directory).train(table[:9], output=tmp_path, name="further").model
    kept = set(pd.read_json(tmp_path / "further/model/retrieval/examples.json", typ="series")["inputs"])
    assert kept < set(table["text"][:9])
    pd.testing.assert_frame_equal(DeclarLM.load(tmp_path / "further").predict(table), further.predict(table))


def test_examples_that_do_not_fit_are_counted_in_training_and_prediction(tmp_path):
    given = config(base_model=save_tiny_llama(tmp_path / "llama", context_length=40), trainer={"type": "none"})
    with pytest.warns(DeclarlmWarning, match="show fewer examples, .* less in all, to fit into 40 tokens"):
        run = DeclarLM(given).train(rows(), output=tmp_path / "runs")
    with pytest.warns(DeclarlmWarning, match=r"^\d+ of 18 prompts show fewer examples"):
        run.model.predict(rows())


def test_a_model_without_a_training_split_has_no_examples():
    with pytest.raises(DataError) as error:
        DeclarLM(config(trainer={"type": "none"})).evaluate(rows())
    assert str(error.value) == (
        "prompt.retrieval shows rows of the training split: call train first, which changes no weight under "
        "trainer.type none, or leave it out"
    )


def test_a_prompt_without_content_keeps_the_examples_of_its_row(tmp_path):
    given = config(output_features=[{"name": "subject", "type": "category", "decoder": {"score": "prior"}}])
    run = DeclarLM(given).train(rows(), output=tmp_path)
    model = run.model._ready()
    table = rows()[:4]
    decode = model.backbone.tokenizer.decode
    for blank, prompt in zip(model.blanks(table)["subject"], model.prompts(table).ids, strict=True):
        before, _, after = decode(blank.tolist()).rpartition("text: N/A")
        assert decode(prompt.tolist()).startswith(before)
        assert after == "\nsubject:"
        assert before.count("text: ") == 2


def test_an_encoder_or_a_base_that_is_nowhere_is_named_by_its_place_in_the_config(tmp_path):
    nowhere = config(**{"prompt": {"retrieval": {"type": "semantic", "k": 2, "model_name": "/nowhere"}}})
    with pytest.raises(ModelError, match=r"^config: prompt.retrieval.model_name: there is no folder '/nowhere'"):
        DeclarLM(nowhere).train(rows(), output=tmp_path)
    label = {"name": "label", "type": "category", "preprocessing": {"labels": ["a", "b"]}}
    untrained = {"base_model": "/nowhere", "input_features": [{"name": "text", "type": "text"}]}
    with pytest.raises(ModelError, match=r"^config: base_model: there is no folder '/nowhere'"):
        DeclarLM({**untrained, "output_features": [label], "trainer": "none"}).predict({"text": ["x"]})
