"""What is saved with a model, and what a person can look at."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import CHATML, LLAMA3, chat_tokenizer, load_tokenizer, make_encoder

from declarlm.core import ConfigError, ModelError
from declarlm.prompts import Span


def test_what_is_saved_is_json_and_holds_the_decisions(shared: Path) -> None:
    prompt = {"template": "{{ a }} {b}", "system": "Be kind."}
    encoder = make_encoder(chat_tokenizer(shared, "stories260K", CHATML), prompt, columns=["text", "a"], stop_ids=[2])
    saved = json.loads(json.dumps(encoder.dump()))
    assert saved.pop("prompt")["template"] == "{{ a }} {b}"
    assert saved == {
        "inputs": ["text"],
        "outputs": ["label"],
        "text_outputs": [],
        "syntaxes": {"prompt.template": "jinja", "prompt.system": "format"},
        "context_length": None,
        "stop_ids": [2],
        "bos_id": 1,
        "fingerprint": encoder.fingerprint(),
    }


def test_another_tokenizer_or_chat_template_has_another_fingerprint(shared: Path) -> None:
    def fingerprint(template: str, *tokens: str) -> str:
        tokenizer = chat_tokenizer(shared, "stories260K", template)
        tokenizer.add_tokens(list(tokens))
        return make_encoder(tokenizer).fingerprint()

    assert fingerprint(CHATML) == fingerprint(CHATML)
    assert len({fingerprint(CHATML), fingerprint(LLAMA3), fingerprint(CHATML, "new")}) == 3


def test_fingerprint_tells_what_changes_tokens(stories_tokenizer: Any) -> None:
    first = make_encoder(stories_tokenizer)
    stories_tokenizer(["a", "b c"], padding=True, truncation=True, max_length=4)  # Leaves traces in the tokenizer.
    assert make_encoder(stories_tokenizer).fingerprint() == first.fingerprint()
    assert make_encoder(stories_tokenizer, columns=["text", "more"]).fingerprint() == first.fingerprint()
    others = [
        make_encoder(stories_tokenizer, {"template": "{text}"}),
        make_encoder(stories_tokenizer, context_length=10),
        make_encoder(stories_tokenizer, bos_id=None),
        make_encoder(stories_tokenizer, stop_ids=[1]),
        make_encoder(stories_tokenizer, text_outputs=["label"]),
    ]
    assert len({encoder.fingerprint() for encoder in (first, *others)}) == 6


def test_template_that_only_columns_can_decide_needs_them(stories_tokenizer: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        make_encoder(stories_tokenizer, {"template": "{{ a }} {b}", "system": "{{ a }} {b}"})
    message = "can be read as a {column} template and as Jinja; say which with prompt.syntax: format or jinja"
    assert [str(problem) for problem in caught.value.problems] == [
        f"prompt.template: {message}",
        f"prompt.system: {message}",
    ]


def test_preview_shows_every_part_of_a_row(stories_tokenizer: Any) -> None:
    encoder = make_encoder(stories_tokenizer, {"template": "Say {{ text }}<s>\nIntent:"})
    assert encoder.preview([{"text": "hi"}], [["yes"]]) == [
        [
            Span("<s>", "special"),
            Span("Say ", "template"),
            Span("hi", "cell", "text"),
            Span("<s>", "special"),
            Span("\nIntent:", "template"),
            Span(" yes", "answer", "label"),
            Span("</s>", "stop"),
        ]
    ]
    assert [span.role for span in encoder.preview([{"text": "hi"}])[0]] == [
        "special",
        "template",
        "cell",
        "special",
        "template",
    ]


def test_preview_is_the_text_that_is_tokenized(shared: Path) -> None:
    tokenizer = chat_tokenizer(shared, "tokenizers/gpt2", LLAMA3)
    encoder = make_encoder(tokenizer, {"answer": "It is {label}."})
    cells, answers = [{"text": " padded "}], [["yes"]]
    text = "".join(span.text for span in encoder.preview(cells, answers)[0])
    assert text == tokenizer.decode(encoder.encode(cells, answers)[0].ids)


def test_slow_tokenizer_is_refused() -> None:
    with pytest.raises(ModelError) as caught:
        make_encoder(type("Slow", (), {"eos_token_id": 2, "bos_token_id": 1})())
    assert str(caught.value) == "Slow is no fast tokenizer: its folder has no tokenizer.json"


def test_tokenizer_without_an_end_is_refused(shared: Path) -> None:
    tokenizer = load_tokenizer(shared, "stories260K")
    tokenizer.eos_token = None
    with pytest.raises(ModelError) as caught:
        make_encoder(tokenizer, stop_ids=[])
    assert str(caught.value) == "the tokenizer has no token that ends a text; set its eos_token"
