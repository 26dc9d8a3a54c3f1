"""JSON that is written token by token, and keeps a schema."""

import functools
import json
import string

import hypothesis
import pandas as pd
import pytest
import tokenizers
import transformers as hf
from hypothesis import strategies
from jsonschema import validate
from small_models import small

from declarlm.core import ModelError
from declarlm.decoders.json_constraint import ANY_JSON, json_constraint, unsupported
from declarlm.features.base import output_features
from declarlm.inference.generation import Generation, generate
from declarlm.models.causal import build_causal
from declarlm.prompts import Prompt, PromptEncoder

STOP = 2
PLACE = {
    "type": "object",
    "properties": {
        "area": {"enum": ["city centre", "riverside"]},
        "stars": {"$ref": "#/$defs/stars"},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[ab]{1,2}$"}, "maxItems": 2},
    },
    "required": ["area", "stars"],
    "additionalProperties": False,
    "$defs": {"stars": {"type": "integer", "minimum": 0, "maximum": 99}},
}


def is_allowed(constraint, ids):
    """Whether all of the tokens may be written, and the answer may end after them."""
    state = constraint.start()
    for place, token in enumerate(ids):
        if not constraint.allowed(state, len(ids) - place)[token]:
            return False
        state = constraint.follow(state, token)
    return bool(constraint.allowed(state, 1)[STOP])


def pieces(letters):
    """A tokenizer of pieces of text without bytes, as T5 has one."""
    known = [("<pad>", 0.0), ("<unk>", 0.0), ("</s>", 0.0), ("\u2581", -2.0), ("side", -1.0)]
    tokens = tokenizers.Tokenizer(
        tokenizers.models.Unigram([*known, *((letter, -3.0) for letter in letters)], unk_id=1)
    )
    tokens.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokens.decoder = tokenizers.decoders.Metaspace()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokens, **special)


@functools.cache
def opened(folder):
    tokenizer = pieces(string.printable[:-6]) if folder.name == "pieces" else hf.AutoTokenizer.from_pretrained(folder)
    names = {"inputs": ["text"], "outputs": ["x"], "columns": ["text"]}
    prompt = Prompt(template="{text}\nJSON:")
    encoder = PromptEncoder(prompt, tokenizer=tokenizer, context_length=None, stop_ids=[STOP], bos_id=None, **names)
    return tokenizer, encoder


@pytest.mark.parametrize("name", ["stories260K", "tokenizers/gpt2", "pieces"])
def test_what_keeps_the_schema_may_be_written_and_nothing_else(shared, name):
    tokenizer, encoder = opened(shared / "models" / name)
    constraint = json_constraint(tokenizer, PLACE, {STOP})

    def may(text):
        return is_allowed(constraint, list(encoder.answer_ids("x", text, last=False)))

    assert may('{"area": "riverside", "stars": 7}')
    assert may('{"area": "city centre", "stars": 12, "tags": ["a", "bb"]}')
    assert not may('{"area": "airport", "stars": 7}')
    assert not may('{"area": "riverside"}')
    assert not may('{"area": "riverside", "stars": 100}')
    assert not may('{"area": "riverside", "stars": 7, "tags": ["c"]}')
    assert not may('{"area": "riverside", "stars": 7, "size": 1}')
    assert not may('{"area": "riverside", "stars": 7')
    assert not may("[1]")


VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-99, 10**20)
    | strategies.floats(-1e9, 1e9)
    # A tokenizer that shortens white space cannot write every text.
    | strategies.text("aé😀\"\\/{}[]:,\n'", max_size=6),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text("abé"), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["stories260K", "tokenizers/gpt2"])
@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(value=strategies.lists(VALUES, max_size=3) | strategies.dictionaries(strategies.text("abé"), VALUES))
def test_every_training_answer_can_be_written(shared, name, value):
    tokenizer, encoder = opened(shared / "models" / name)
    output = output_features["json"].Config.load({"name": "x"}).build().without_rows()
    (answer,) = output.answers(pd.Series([value], dtype=object))
    assert json.loads(answer) == value
    assert is_allowed(output.constraint(tokenizer, {STOP}), encoder.answer_ids("x", answer, last=True)[:-1])


def test_every_training_answer_with_a_schema_can_be_written(shared):
    tokenizer, encoder = opened(shared / "models" / "tokenizers/gpt2")
    output = output_features["json"].Config.load({"name": "x", "json_schema": PLACE}).build()
    cells = pd.Series(['{"stars": 3, "tags": ["b"], "area": "riverside"}'], name="x")
    (answer,) = output.fit(cells).answers(cells)
    assert answer == '{"area": "riverside", "stars": 3, "tags": ["b"]}'
    assert is_allowed(output.constraint(tokenizer, {STOP}), encoder.answer_ids("x", answer, last=False))


@pytest.mark.parametrize("settings", [{}, {"temperature": 2.0}, {"num_beams": 2}, {"repetition_penalty": 2.0}], ids=str)
def test_every_answer_keeps_the_schema(shared, settings):
    tokenizer, encoder = opened(shared / "models" / "stories260K")
    answers = generate(
        build_causal(small("llama", vocab_size=512)),
        [list(range(5, 5 + length)) for length in range(2, 14)],
        stop_ids={STOP},
        max_new_tokens=90,
        settings=Generation(**settings),
        constraint=json_constraint(tokenizer, PLACE, {STOP}),
    )
    texts = [encoder.decode(answer[:-1], "x") for answer in answers]
    assert {answer[-1] for answer in answers} == {STOP}
    for text in texts:
        validate(json.loads(text), PLACE)
    assert len(set(texts)) > 1


@pytest.mark.parametrize(("cells", "allowed"), [(['{"a": 1}'], "{"), (["[1]"], "["), (["[1]", '{"a": 1}'], "[{")])
def test_without_a_schema_answers_are_what_the_training_rows_are(shared, cells, allowed):
    tokenizer, encoder = opened(shared / "models" / "stories260K")
    output = output_features["json"].Config.load({"name": "x"}).build().fit(pd.Series([*cells, None], name="x"))
    constraint = output.constraint(tokenizer, {STOP})
    texts = {"{": '{"b": [2]}', "[": "[2]"}
    assert {
        opening
        for opening, text in texts.items()
        if is_allowed(constraint, encoder.answer_ids("x", text, last=True)[:-1])
    } == set(allowed)


def test_a_schema_beyond_tokens_is_left_alone_unless_it_must_be_kept():
    assert unsupported(PLACE) is None
    assert unsupported(ANY_JSON) is None
    assert unsupported({"type": "array", "uniqueItems": True}) == 'Unimplemented keys: ["uniqueItems"]'
    schema = {"type": "object", "not": {"required": ["a"]}}
    output = output_features["json"].Config.load({"name": "x", "json_schema": schema}).build().without_rows()
    assert output.constraint(None, {STOP}) is None


def test_a_base_whose_tokens_are_unknown_is_an_error():
    class Slow:
        is_fast = False

    with pytest.raises(
        ModelError, match=r"cannot be held to JSON: its tokenizer has no tokenizer\.json.*: auto, or choose"
    ):
        json_constraint(Slow(), ANY_JSON, {STOP})


def test_a_base_that_cannot_write_braces_writes_freely_unless_it_must_not():
    tokenizer = pieces(string.ascii_letters)
    with pytest.raises(
        ModelError, match=r"its tokenizer has no token for \{ or \[; write constrained: auto, or choose"
    ):
        json_constraint(tokenizer, ANY_JSON, {STOP})
    output = output_features["json"].Config.load({"name": "x"}).build().without_rows()
    assert output.constraint(tokenizer, {STOP}) is None
    must = {"type": "json_extractor", "constrained": True}
    output = output_features["json"].Config.load({"name": "x", "decoder": must}).build().without_rows()
    with pytest.raises(ModelError, match="has no token"):
        output.constraint(tokenizer, {STOP})
