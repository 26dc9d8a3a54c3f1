"""The preview shows the tokens that training uses, and where they are learned."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from declarlm import DataError, DeclarLM
from declarlm.cli import main
from declarlm.planning.preview import show
from declarlm.prompts import PROMPT

ROWS = pd.DataFrame(
    {
        "text": ["Hello there", "A <s> b", "word " * 2000],
        "label": ["good", "bad", "good"],
        "size": [1.0, 2.0, 3.0],
    },
    index=["a", "b", "c"],
)
INPUT = {"name": "text", "type": "text"}


def llm(stories: str, **changes: object) -> DeclarLM:
    config = {
        "base_model": stories,
        "input_features": [INPUT],
        "output_features": [{"name": "label", "type": "category"}],
        "prompt": {"template": "Say: {{ text }} ->"},
    }
    return DeclarLM({**config, **changes})


def test_spans_are_what_training_reads_and_learns(stories):
    model = llm(stories)
    first, second, third = model.preview(ROWS)
    assert [span[:2] for span in first.spans] == [
        ("<s>", "special"),
        ("Say: ", "template"),
        ("Hello there", "cell"),
        (" ->", "template"),
        (" good", "answer"),
        ("</s>", "stop"),
    ]
    assert [preview.row for preview in (first, second, third)] == ["a", "b", "c"]
    trained = model.config.build()
    trained.fit(ROWS, seed=0, folder=None)
    store = trained.encode(ROWS)
    for place, preview in enumerate((first, second, third)):
        roles = store.tokens.roles[place]
        assert preview.num_tokens == len(roles)
        assert preview.num_learned == (roles != PROMPT).sum()
        assert preview.num_cut == store.tokens.num_cut[place]
    assert third.num_cut > 0
    assert third.num_tokens == 512


def test_plain_text_marks_what_is_learned(stories):
    previews = llm(stories).preview(ROWS, 1)
    preview = previews[0]
    learned = preview.num_learned
    assert str(preview) == (
        f"--- row a: {preview.num_tokens} tokens, {learned} learned\n<s>Say: Hello there ->[[ good</s>]]\n"
    )
    assert repr(previews) == str(preview)


def test_tokens_are_those_of_training_and_spell_the_row(stories):
    rows = ROWS.iloc[:2].assign(text=["Héllo 東京 🙂 there", ""])
    preview, _ = llm(stories).preview(rows)
    trained = llm(stories).config.build()
    trained.fit(rows, seed=0, folder=None)
    store = trained.encode(rows)
    assert [token.id for token in preview.tokens] == store.tokens.ids[0].tolist()
    spelled = "".join(token.text for token in preview.tokens)
    assert spelled.replace("<s> ", "<s>") == "".join(span.text for span in preview.spans)
    prompt, learned = preview.num_tokens - preview.num_learned, preview.num_learned
    assert [token.role for token in preview.tokens] == ["prompt"] * prompt + ["answer"] * (learned - 1) + ["stop"]


def test_tokens_are_told_apart_by_a_thin_mark():
    config = {
        "base_model": "starter",
        "input_features": [INPUT],
        "output_features": [{"name": "label", "type": "category"}],
    }
    (preview,) = DeclarLM(config).preview(ROWS, 1)
    assert preview.plain(by_token=True) == (
        "--- row a: 9 tokens, 2 learned\n<|begin|>·H·ello· there·\n·label·:[[· good·<|end|>]]\n"
    )


def test_raw_text_is_shown_in_pieces_that_are_learned_whole(stories):
    model = llm(stories, output_features=[], prompt={}, trainer="pretrain")
    first, second = model.preview(ROWS, rows=2)
    assert (first.row, first.num_tokens, first.num_learned) == ("piece 0", 512, 512)
    assert (second.row, second.num_tokens, second.num_learned) == ("piece 1", 512, 512)
    assert first.spans[0].text.startswith("<s> Hello there</s>")


def test_columns_are_shown_with_what_stands_for_them():
    config = {
        "input_features": [INPUT, {"name": "size", "type": "number", "encoder": "passthrough"}],
        "output_features": [{"name": "label", "type": "category"}],
    }
    first, *_ = DeclarLM(config).preview(ROWS, rows=2)
    lines = "".join(span.text for span in first.spans).splitlines()
    assert lines[0].startswith("text   Hello there  -> ")
    assert lines[1] == "size   1  -> -1.225"
    assert lines[2] == "label  good  -> 0"


def test_rows_that_training_would_refuse_are_refused(stories):
    with pytest.raises(DataError, match="column 'label', row b: is missing"):
        llm(stories).preview(ROWS.assign(label=["good", None, "bad"]))


def test_a_terminal_gets_colours_and_a_pipe_plain_text(stories, monkeypatch, capsys):
    previews = llm(stories).preview(ROWS, rows=1)
    show(previews)
    assert capsys.readouterr().out == str(previews[0])
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    show(previews)
    out = capsys.readouterr().out
    assert "\x1b[1;32m good\x1b[0m" in out
    assert "\x1b[36mHello there\x1b[0m" in out
    assert "learned" in out.splitlines()[-1]


def test_the_command_prints_json(stories, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(json.dumps(dict(llm(stories).document.data)))
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(SystemExit) as left:
        main(
            [
                "preview",
                "-c",
                str(tmp_path / "config.yaml"),
                "--dataset",
                str(tmp_path / "rows.csv"),
                "-n",
                "2",
                "--json",
            ]
        )
    assert left.value.code == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["row"] == 0
    assert first["spans"][-1] == {"text": "</s>", "role": "stop", "column": None}
    assert second["num_learned"] > 1
