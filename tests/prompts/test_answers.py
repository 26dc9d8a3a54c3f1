"""Answers: one output or several, their tokens, and reading them back."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import CHATML, LLAMA2, TOKENIZERS, chat_tokenizer, load_tokenizer, make_encoder, read_rows
from hypothesis import HealthCheck, given, settings, strategies

from declarlm.prompts import ANSWER, PROMPT, STOP, PromptEncoder, Row

OUTPUTS = ["intent", "urgency"]


def part(row: Row, role: int) -> list[int]:
    return [token for token, given in zip(row.ids, row.roles, strict=True) if given == role]


def labels_of(shared: Path) -> dict[str, list[dict[str, str]]]:
    bank = read_rows(shared / "data/banking77/test.csv", 3080)
    snips = read_rows(shared / "data/snips/test.jsonl", 700)
    return {
        "banking77": list({row["label"]: {"text": row["text"], "label": row["label"]} for row in bank}.values()),
        "snips": list({row["intent"]: {"text": row["text"], "label": row["intent"]} for row in snips}.values()),
    }


def encoders(shared: Path, name: str) -> list[PromptEncoder]:
    plain = load_tokenizer(shared, name)
    return [
        make_encoder(plain),
        make_encoder(plain, {"template": "{{ text }}\n"}),
        make_encoder(plain, {"template": "{text} ->", "answer": "<<{label}>>"}),
        make_encoder(chat_tokenizer(shared, name, CHATML)),
        make_encoder(chat_tokenizer(shared, name, LLAMA2)),
    ]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_label_ids_are_those_of_training_rows_and_read_back(shared: Path, name: str) -> None:
    labels = labels_of(shared)
    assert {key: len(rows) for key, rows in labels.items()} == {"banking77": 77, "snips": 7}
    for encoder in encoders(shared, name):
        for rows in labels.values():
            encoded = encoder.encode(rows, [[row["label"]] for row in rows])
            for index, row in enumerate(rows):
                literal = encoder.literals[0]
                answer = part(encoded[index], ANSWER) + part(encoded[index], STOP)
                assert answer == literal + encoder.answer_ids("label", row["label"], last=True)
                fields = encoded[index].fields
                of_field = [token for token, field in zip(encoded[index].ids, fields, strict=True) if field == 0]
                assert of_field == encoder.answer_ids("label", row["label"], last=False)
                if not name.startswith("Tiny") or row["label"].isascii():
                    assert encoder.decode(of_field) == row["label"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=strategies.text(max_size=40) | strategies.sampled_from(["a", " a", "  a ", "a\nb\n", "</s>", "<s>", "\n"]))
def test_answer_of_any_text_reads_back(gpt2_tokenizer: Any, stories_tokenizer: Any, text: str) -> None:
    for tokenizer in (gpt2_tokenizer, stories_tokenizer):
        for encoder in encoders_of(tokenizer):
            ids = encoder.answer_ids("label", text, last=True)
            assert encoder.decode(ids) == text
            assert not set(tokenizer.all_special_ids) & set(ids[:-1])


@cache
def encoders_of(tokenizer: Any) -> list[PromptEncoder]:
    return [make_encoder(tokenizer, {"template": template}) for template in ("{text}:", "{text}\n")]


def test_empty_answer_is_the_stop_token_alone(stories_tokenizer: Any) -> None:
    encoder = make_encoder(stories_tokenizer)
    row = encoder.encode([{"text": "hi"}], [[""]])[0]
    assert part(row, ANSWER) == []
    assert row.ids[-1] == encoder.stop_id


def test_several_outputs_are_written_one_per_line(gpt2_tokenizer: Any) -> None:
    encoder = make_encoder(gpt2_tokenizer, outputs=OUTPUTS)
    row = encoder.encode([{"text": "help"}], [["lost card", "high"]])[0]
    assert gpt2_tokenizer.decode(part(row, PROMPT)) == "help\n"
    assert gpt2_tokenizer.decode(part(row, ANSWER)) == "intent: lost card\nurgency: high"
    by_field = {
        field: gpt2_tokenizer.decode(
            [token for token, given in zip(row.ids, row.fields, strict=True) if given == field]
        )
        for field in (0, 1)
    }
    assert by_field == {0: " lost card", 1: " high"}
    assert [gpt2_tokenizer.decode(literal) for literal in encoder.literals] == ["intent:", "\nurgency:"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_forced_text_and_fields_make_up_the_training_row(shared: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared, name)
    for answer in (None, "intent={intent}; urgency={urgency}.", "{intent} ({urgency})"):
        encoder = make_encoder(tokenizer, {"answer": answer, "template": "{text} ="}, outputs=OUTPUTS)
        row = encoder.encode([{"text": "help"}], [["lost card", "high"]])[0]
        forced = encoder.literals[0] + encoder.answer_ids("intent", "lost card", last=False)
        forced += encoder.literals[1] + encoder.answer_ids("urgency", "high", last=True)
        assert part(row, ANSWER) + part(row, STOP) == forced
        assert encoder.decode(encoder.answer_ids("intent", "lost card", last=False), "intent") == "lost card"
        assert encoder.decode(encoder.answer_ids("urgency", "high", last=False), "urgency") == "high"


def test_json_answer_has_closing_text_and_no_spaces_of_its_own(gpt2_tokenizer: Any) -> None:
    prompt = {"template": "{text}\n", "answer": '{{"intent": "{intent}", "urgency": "{urgency}"}}'}
    encoder = make_encoder(gpt2_tokenizer, prompt, outputs=OUTPUTS)
    row = encoder.encode([{"text": "help"}], [["lost", "high"]])[0]
    assert gpt2_tokenizer.decode(part(row, ANSWER)) == '{"intent": "lost", "urgency": "high"}'
    assert gpt2_tokenizer.decode(encoder.answer_ids("urgency", "high", last=True)) == 'high"}<|endoftext|>'


def test_special_tokens_of_an_answer_template_are_placed(shared: Path) -> None:
    tokenizer = chat_tokenizer(shared, "tokenizers/gpt2", CHATML)
    encoder = make_encoder(tokenizer, {"answer": "<|eot_id|>{label}", "chat": False})
    assert encoder.literals == [[220, tokenizer.convert_tokens_to_ids("<|eot_id|>")]]


def test_decoding_ends_at_the_first_stop_token(stories_tokenizer: Any) -> None:
    encoder = make_encoder(stories_tokenizer, stop_ids=[1, 2])
    ids = encoder.answer_ids("label", "yes", last=False)
    assert encoder.decode([*ids, 1, *ids]) == "yes"
    assert encoder.decode([]) == ""
