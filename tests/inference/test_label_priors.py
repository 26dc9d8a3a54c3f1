"""Scores of labels against a prompt without content, from the config to the probabilities."""

import numpy as np
import pandas as pd
import pytest
from small_bases import save_tiny_llama

from declarlm import ConfigError, DataError, DeclarLM, load_config

ROWS = pd.DataFrame({"note": ["the good food", "a very bad film", "red wine"], "size": [1.5, 2.0, 3.25]})
LABELS = ["good", "a very bad one", "bad"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


def zero_shot(base, score, template="Size {size:.2f}, note {note}\nIs", outputs=("a",), **decoder):
    columns = [{"name": "note", "type": "text"}, {"name": "size", "type": "number"}]
    decoders = {"score": score, **decoder}
    answers = [
        {"name": name, "type": "category", "preprocessing": {"labels": LABELS}, "decoder": decoders} for name in outputs
    ]
    return DeclarLM(
        {"base_model": base, "input_features": columns, "output_features": answers, "prompt": {"template": template}}
    )


def shares(table, name="a"):
    return np.stack(table[f"{name}_probabilities"].tolist())


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


@pytest.mark.parametrize("neutral", ["N/A", "nothing"])
def test_a_prior_divides_by_the_probability_after_neutral_cells(llama, neutral):
    template = "Size {size}, note {note}\nIs"
    given = {} if neutral == "N/A" else {"neutral": neutral}
    found = shares(zero_shot(llama, "prior", template, **given).predict(ROWS))
    blank = pd.DataFrame({"note": [neutral], "size": [neutral]})
    plain = zero_shot(llama, "sum", template)
    rows, empty = shares(plain.predict(ROWS)), shares(plain.predict(blank))
    np.testing.assert_allclose(found, softmax(np.log(rows) - np.log(empty)), rtol=1e-4)
    assert abs(found - rows).max() > 1e-3


def test_a_prior_needs_no_number_where_the_template_formats_one(llama):
    found = shares(zero_shot(llama, "prior").predict(ROWS))
    np.testing.assert_allclose(found.sum(1), 1)
    jinja = "Size {{ size }}{% if note %}, note {{ note|upper }}{% endif %}\nIs"
    np.testing.assert_allclose(shares(zero_shot(llama, "prior", jinja).predict(ROWS)).sum(1), 1)


def test_a_prior_of_the_second_output_stands_behind_a_neutral_first_one(llama):
    model = zero_shot(llama, "prior", "{note}\n", outputs=("a", "b"))
    both = model.predict(ROWS)
    alone = [model.predict(ROWS.iloc[[row]]) for row in range(len(ROWS))]
    for name in ("a", "b"):
        np.testing.assert_allclose(shares(both, name), [shares(one, name)[0] for one in alone], rtol=1e-4)


def test_a_template_that_neutral_text_breaks_says_so(llama):
    model = zero_shot(llama, "prior", "{% if size|float > 5 %}{{ note.missing }}{% endif %}{{ note }}", neutral="7")
    with pytest.warns(UserWarning, match="row without content: the prompt cannot be made: the template asks"):
        assert model.predict(ROWS).a_error.notna().all()
    with pytest.raises(DataError, match="row without content"):
        model.evaluate(ROWS.assign(a="good"))


def test_neutral_text_has_an_effect_with_a_prior_alone():
    config = {
        "base_model": "starter",
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "a", "type": "category", "decoder": {"neutral": "[]"}}],
    }
    with pytest.raises(ConfigError) as error:
        load_config(config)
    assert [str(problem) for problem in error.value.problems] == [
        "output_features[0].decoder.neutral: is read with score: prior alone; leave it out, or write score: prior"
    ]
