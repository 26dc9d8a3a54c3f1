"""Numbers that are written token by token."""

import functools
import re
from types import SimpleNamespace

import hypothesis
import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from hypothesis import strategies
from hypothesis.strategies import sampled_from
from small_models import small

from declarlm.core import ModelError
from declarlm.decoders.constraints import NumberConstraint, number_constraint
from declarlm.features.base import output_features
from declarlm.inference.generation import Generation, generate
from declarlm.models.causal import build_causal
from declarlm.prompts import Prompt, PromptEncoder

NUMBER = re.compile(r" ?-?[0-9]+(\.[0-9]+)?")
TEXTS = {3: " ", 4: "-", 5: ".", 6: "0", 7: "1", 8: " 12", 9: "3.", 10: ".5", 11: " -", 12: "-4"}
STOP = 2


def sentences(constraint, state, remaining, prefix=()):
    """Every answer of at most ``remaining`` tokens."""
    for token in np.flatnonzero(constraint.allowed(state, remaining)).tolist():
        if token == STOP or remaining == 1:
            yield (*prefix, token)
        else:
            yield from sentences(constraint, constraint.follow(state, token), remaining - 1, (*prefix, token))


def test_exactly_the_numbers_are_allowed():
    constraint = NumberConstraint(TEXTS, {STOP})
    written = {"".join(TEXTS.get(token, "") for token in ids) for ids in sentences(constraint, constraint.start(), 4)}
    assert {"0", "-1", " 12", "-4.51", "3.0", "01", " -0"} <= written
    assert all(NUMBER.fullmatch(text) for text in written)
    every = {"".join(TEXTS[token] for token in ids) for ids in np.ndindex(13, 13, 13) if set(ids) <= set(TEXTS)}
    assert {text for text in every if NUMBER.fullmatch(text)} <= written


@pytest.mark.parametrize("name", ["stories260K", "tokenizers/gpt2"])
def test_a_real_tokenizer_writes_numbers(shared, name):
    tokenizer = hf.AutoTokenizer.from_pretrained(shared / "models" / name)
    constraint = number_constraint(tokenizer, {STOP})
    for text in ("7", "-12.5", " 2024", "0.001"):
        state = constraint.start()
        for token in tokenizer.encode(text, add_special_tokens=False):
            if tokenizer.decode([token]).strip() or state == constraint.start():
                assert constraint.allowed(state, 9)[token], (text, tokenizer.convert_ids_to_tokens(token))
                state = constraint.follow(state, token)
        assert constraint.allowed(state, 9)[STOP]
    words = tokenizer.encode("Once", add_special_tokens=False)
    assert not constraint.allowed(constraint.start(), 9)[words].any()


FORMS = ("{!r}", "{:.3e}", "{:+.2f}", " {:.1f}", "{:g}")


@pytest.mark.parametrize("name", ["stories260K", "tokenizers/gpt2"])
@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(
    # Below the largest float, which a form may round up to infinity.
    number=strategies.floats(-1e300, 1e300) | strategies.integers(-(10**300), 10**300),
    form=sampled_from(FORMS),
)
def test_every_training_answer_can_be_generated(shared, name, number, form):
    encoder, constraint = opened(shared / "models" / name)
    output = output_features["number"].Config(name="size").build().without_rows()
    for cell in (form.format(float(number)), number):
        (answer,) = output.answers(pd.Series([cell]))
        assert float(answer) == pytest.approx(float(cell))
        ids = encoder.answer_ids("size", answer, last=True)
        state = constraint.start()
        for place, token in enumerate(ids):
            assert constraint.allowed(state, len(ids) - place)[token], (answer, ids)
            state = constraint.follow(state, token)


@functools.cache
def opened(folder):
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    names = {"inputs": ["text"], "outputs": ["size"], "columns": ["text"]}
    prompt = Prompt(template="{text}\nSize:")
    encoder = PromptEncoder(prompt, tokenizer=tokenizer, context_length=None, stop_ids=[STOP], bos_id=None, **names)
    return encoder, number_constraint(tokenizer, encoder.stop_ids)


@pytest.mark.parametrize("settings", [{}, {"temperature": 2.0}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_every_answer_is_a_number(limit, settings):
    texts = {token: TEXTS.get(token) for token in TEXTS}
    constraint = NumberConstraint(texts, {STOP})
    random = np.random.default_rng(0)
    rows = [random.integers(3, 97, length).tolist() for length in range(2, 30)]
    answers = generate(
        build_causal(small("llama")),
        rows,
        stop_ids={STOP},
        max_new_tokens=limit,
        settings=Generation(**settings),
        constraint=constraint,
    )
    written = ["".join(texts.get(token, "") for token in answer) for answer in answers]
    assert all(NUMBER.fullmatch(text) for text in written), written
    assert torch.tensor([len(answer) for answer in answers]).max() <= limit
    assert len(set(written)) > 2


def test_a_tokenizer_without_digits_cannot_write_numbers():
    vocabulary = {"a": 0, "1": 1, "</s>": 2, "2": 3, "<0x33>": 4}
    tokenizer = SimpleNamespace(added_tokens_decoder={2: "</s>"}, get_vocab=lambda: vocabulary)
    with pytest.raises(ModelError) as error:
        number_constraint(tokenizer, {2})
    assert str(error.value) == (
        "the tokenizer has no token for 0, 4, 5, 6, 7, 8, 9, so it cannot write numbers; "
        "choose another base model, or a text output"
    )
