"""Rows that do not fit the model: what is cut, what never is, and what is said."""

from pathlib import Path
from typing import Any

import pytest
from conftest import CHATML, chat_tokenizer, make_encoder, read_rows

from declarlm.core import DataError
from declarlm.prompts import ANSWER, STOP, Row

TEMPLATE = {"template": "Read: {context}\nAnswer: {question}\nReply:"}
INPUTS = ["context", "question"]


def supervised(row: Row) -> list[int]:
    return [token for token, role in zip(row.ids, row.roles, strict=True) if role in (ANSWER, STOP)]


def test_long_rows_fit_exactly_and_keep_template_and_answer(tokenizer: Any, shared: Path) -> None:
    rows = read_rows(shared / "data/squad_v2_subset/train.csv", 60)
    answers = [[row["answer_text"]] for row in rows]
    whole = make_encoder(tokenizer, TEMPLATE, inputs=INPUTS).encode(rows, answers)
    encoder = make_encoder(tokenizer, TEMPLATE, inputs=INPUTS, context_length=150)
    encoded = encoder.encode(rows, answers)
    for index in range(len(rows)):
        full, row = whole[index], encoded[index]
        assert supervised(row) == supervised(full)
        assert len(row.ids) <= 150
        assert row.num_cut == len(full.ids) - len(row.ids)
        if len(full.ids) <= 150:
            assert row.ids == full.ids
        else:
            assert len(row.ids) >= 145  # No more is cut than what must be.
    assert (encoded.num_cut > 0).any()


def test_what_is_left_is_a_head_of_the_longest_cell(tokenizer: Any, shared: Path) -> None:
    rows = read_rows(shared / "data/squad_v2_subset/train.csv", 20)
    encoder = make_encoder(tokenizer, TEMPLATE, inputs=INPUTS, context_length=300)
    for row, spans in zip(rows, encoder.preview(rows, [["yes"]] * 20), strict=True):
        kept = {span.column: span.text for span in spans if span.role == "cell"}
        words = [span.text for span in spans if span.role == "template"]
        assert words == ["Read: ", "\nAnswer: ", "\nReply:"]
        assert row["context"].startswith(kept["context"])
        assert kept["question"] == row["question"]


def test_cut_row_has_the_ids_of_the_cut_text(gpt2_tokenizer: Any, shared: Path) -> None:
    rows = read_rows(shared / "data/squad_v2_subset/train.csv", 20)
    encoder = make_encoder(gpt2_tokenizer, TEMPLATE, inputs=INPUTS, context_length=100)
    encoded = encoder.encode(rows, None)
    for index, spans in enumerate(encoder.preview(rows)):
        assert encoded[index].ids == gpt2_tokenizer("".join(span.text for span in spans)).input_ids


def test_two_long_cells_are_cut_to_one_length(gpt2_tokenizer: Any) -> None:
    cells = [{"context": "one " * 400, "question": "two " * 300}]
    encoder = make_encoder(gpt2_tokenizer, TEMPLATE, inputs=INPUTS, context_length=210)
    kept = {span.column: span.text.split() for span in encoder.preview(cells, [["a"]])[0] if span.role == "cell"}
    assert abs(len(kept["context"]) - len(kept["question"])) <= 1
    assert len(kept["context"]) > 95


def test_characters_of_several_tokens_are_never_split(tokenizer: Any) -> None:
    text = "漢字😀é" * 100
    for length in range(40, 60):
        encoder = make_encoder(tokenizer, {"template": "{text}\nQ:"}, context_length=length)
        kept = next((span.text for span in encoder.preview([{"text": text}])[0] if span.role == "cell"), "")
        assert text.startswith(kept)
        assert len(encoder.encode([{"text": text}], None)[0].ids) <= length


def test_reserve_leaves_room_for_the_answer(gpt2_tokenizer: Any) -> None:
    encoder = make_encoder(gpt2_tokenizer, {"template": "{text}:"}, context_length=64)
    encoded = encoder.encode([{"text": "word " * 500}, {"text": "word"}], None, reserve=24)
    assert [len(row) for row in encoded.ids] == [40, 2]
    assert encoded.num_cut[1] == 0


def test_answer_that_does_not_fit_is_an_error_with_row_and_numbers(gpt2_tokenizer: Any) -> None:
    encoder = make_encoder(gpt2_tokenizer, {"template": "Say {text}:"}, context_length=20)
    cells = [{"text": "hi"}, {"text": "hi"}]
    with pytest.raises(DataError) as caught:
        encoder.encode(cells, [["ok"], ["word " * 30]], row_labels=["a", "b"])
    assert str(caught.value) == (
        "column 'label', row b: the answer has 32 tokens, and 20 fit with its prompt; shorten it, "
        "raise preprocessing.global_max_sequence_length if the model allows it, or set preprocessing.overlong: drop"
    )


def test_rows_that_cannot_fit_are_dropped_on_request(gpt2_tokenizer: Any) -> None:
    encoder = make_encoder(gpt2_tokenizer, {"template": "Say {text}:"}, context_length=20)
    cells = [{"text": "hi"}, {"text": "hi"}, {"text": "long " * 99}]
    encoded = encoder.encode(cells, [["ok"], ["word " * 30], ["ok"]], overlong="drop")
    assert encoded.dropped.tolist() == [False, True, False]
    assert encoded.ids.lengths.tolist()[1] == 0
    assert (encoded.num_cut > 0).tolist() == [False, False, True]


def test_any_long_row_is_an_error_on_request(gpt2_tokenizer: Any) -> None:
    encoder = make_encoder(gpt2_tokenizer, {"template": "Say {text}:"}, context_length=20)
    with pytest.raises(DataError) as caught:
        encoder.encode([{"text": "hi"}, {"text": "word " * 30}], [["ok"], ["ok"]], overlong="error")
    assert str(caught.value) == (
        "row 1: the prompt has 32 tokens and its answer needs 2, together more than the 20 that fit; shorten them, "
        "raise preprocessing.global_max_sequence_length if the model allows it, or set preprocessing.overlong: cut"
    )


def test_chat_rows_are_cut_inside_the_message(shared: Path) -> None:
    tokenizer = chat_tokenizer(shared, "tokenizers/gpt2", CHATML)
    encoder = make_encoder(tokenizer, {"template": "{text}", "system": "Be kind."}, context_length=60)
    row = encoder.encode([{"text": "word " * 100}], [["yes"]])[0]
    assert len(row.ids) == 60
    text = tokenizer.decode(row.ids)
    assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nword word")
    assert text.endswith("word<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>")


@pytest.mark.parametrize("answers", [[["good"], ["good"]], None])
def test_a_prompt_without_tokens_is_refused(stories_tokenizer, answers):
    encoder = make_encoder(stories_tokenizer, {"template": "{text}"}, bos_id=None)
    with pytest.raises(DataError) as error:
        encoder.encode([{"text": "a"}, {"text": ""}], answers, row_labels=["x", "y"])
    assert str(error.value) == (
        "row y: the prompt is empty, and the base model has no token that begins a text; "
        "write some text of your own into prompt.template, or leave the row out"
    )
    begun = make_encoder(stories_tokenizer, {"template": "{text}"}, bos_id=1)
    assert begun.encode([{"text": ""}], None)[0].ids == [1]


def test_only_a_prompt_that_must_be_cut_leaves_all_the_room(stories_tokenizer):
    encoder = make_encoder(stories_tokenizer, context_length=100)
    cells = [{"text": "word " * count} for count in range(1, 60)]
    whole = make_encoder(stories_tokenizer, context_length=None).encode(cells, None).ids.lengths
    kept = encoder.encode(cells, None, reserve=40, least=10).ids.lengths
    assert set(kept[whole <= 90] - whole[whole <= 90]) == {0}
    assert 50 < kept[whole > 90].max() <= 60
