"""What a language model does with rows: room for answers, separators between them."""

import pandas as pd
import pytest
from small_bases import save_tiny_llama

from declarlm import DataError
from declarlm.config import load_config

ROWS = pd.DataFrame({"note": ["the red dog"] * 40, "answer": ["good"] * 40, "size": [1.5] * 40})


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


@pytest.fixture
def fitted(llama, tmp_path, monkeypatch):
    """Fits a model that is not trained; keywords change its config."""
    monkeypatch.setenv("DECLARLM_CACHE", str(tmp_path / "cache"))

    def fit(table: pd.DataFrame, *outputs: str, **changes: object):
        kinds = {"size": "number"}
        config = {
            "base_model": llama,
            "input_features": [{"name": "note", "type": "text"}],
            "output_features": [{"name": name, "type": kinds.get(name, "text")} for name in outputs],
            "prompt": {"template": "{note}."},
            "adapter": "lora",
            **changes,
        }
        model = load_config(config).build().fit(table, seed=0, folder=tmp_path)
        model.learn_lengths(model.encode(table))
        return model

    return fit


def test_one_long_answer_does_not_cut_the_prompts_of_other_rows(fitted):
    table = ROWS.assign(note=["white wine " * 12, *ROWS["note"][1:]])
    table.loc[3, "answer"] = "good " * 16
    model = fitted(table, "answer")
    store = model.encode(table)
    assert store.tokens.num_cut.max() == 0
    prompts = model.prompts(table)
    assert prompts.ids.lengths.tolist() == (store.costs - store.supervised).tolist()
    assert prompts.ids.lengths.max() + store.supervised.max() > model.max_length
    assert model.reserve < store.supervised.max()


def test_a_prompt_that_must_be_cut_leaves_room_for_usual_answers(fitted):
    model = fitted(ROWS.assign(answer=["good " * 5] * 40), "answer")
    (length,) = model.prompts(pd.DataFrame({"note": ["wine " * 200]})).ids.lengths
    assert length == model.max_length - model.reserve
    assert model.reserve == int(model.encode(ROWS.assign(answer=["good " * 5] * 40)).supervised.max())


def test_an_answer_leaves_room_for_the_outputs_after_it(fitted):
    model = fitted(ROWS, "answer", "size")
    following = len(model.encoder.literals[1])
    assert model.context_for(0) == model.backbone.context_length - following - 1
    assert model.context_for(1) == model.backbone.context_length


def test_numbers_are_as_long_as_in_training_or_as_the_config_says(fitted):
    model = fitted(ROWS.assign(size=[123456.75] * 40), "size")
    (output,) = model.outputs
    longest = model.answer_lengths["size"]
    assert longest >= 5
    assert model.max_new_tokens(output, "auto") == longest + longest // 4 + 8
    assert model.max_new_tokens(output, 2) == 2
    model.answer_lengths = {}
    assert model.max_new_tokens(output, "auto") == 24


def test_a_text_that_holds_what_separates_it_from_the_next_output_is_refused(fitted):
    table = ROWS.assign(answer=["good", "white\nwine", "red\nwine", *ROWS["answer"][3:]])
    with pytest.raises(DataError) as caught:
        fitted(table, "answer", "size")
    assert str(caught.value) == (
        "column 'answer', row 1: 'white\\nwine' holds what separates it from the output 'size' (2 of 40 rows do), so "
        "it could not be written to its end; write prompt.answer with another separator, or make it the last output"
    )
    assert len(fitted(table, "size", "answer").encode(table)) == 40
    other = {"template": "{note}.", "answer": "{answer} ## {size}"}
    assert len(fitted(table, "answer", "size", prompt=other).encode(table)) == 40
