"""A column's own length: cells and answers end with that token, in training and in predictions."""

import pandas as pd
import pytest

from declarlm import DeclarLM
from declarlm.backbones import open_backbone

ROWS = pd.DataFrame(
    {
        "note": [
            "The quick brown fox jumps over the lazy dog",
            "Short",
            "Grüße aus 東京 und 🦊🦊🦊 anderswo",
            "",
        ],
        "reply": ["one two three four five six seven eight nine ten", "yes", "na ja, vielleicht morgen früh", "no"],
    }
)


def config(length):
    return {
        "base_model": "starter",
        "input_features": [{"name": "note", "type": "text", "preprocessing": {"max_sequence_length": length}}],
        "output_features": [{"name": "reply", "type": "text", "preprocessing": {"max_sequence_length": length}}],
        "prompt": {"template": "{note} ->"},
        "adapter": "lora",
    }


@pytest.mark.parametrize("length", [1, 3, 6])
def test_cells_and_answers_end_with_the_token_that_is_named(length):
    tokenizer = open_backbone("starter").tokenizer
    previews = DeclarLM(config(length)).preview(ROWS, rows=len(ROWS))
    for preview, note, reply in zip(previews, ROWS["note"], ROWS["reply"], strict=True):
        shown = {role: "".join(span.text for span in preview.spans if span.role == role) for role in ("cell", "answer")}
        for text, whole in ((shown["cell"], note), (shown["answer"].lstrip(), reply)):
            tokens = tokenizer(whole, add_special_tokens=False).input_ids
            assert whole.startswith(text)
            assert len(tokenizer(text, add_special_tokens=False).input_ids) <= length
            assert (text == whole) == (len(tokens) <= length)


def test_an_answer_is_not_written_beyond_its_length():
    model = DeclarLM({**config(2), "trainer": {"type": "none"}, "adapter": None})
    answers = model.predict(ROWS)["reply_predictions"]
    tokenizer = open_backbone("starter").tokenizer
    assert all(len(tokenizer(answer, add_special_tokens=False).input_ids) <= 2 for answer in answers)
    assert any(answers)
