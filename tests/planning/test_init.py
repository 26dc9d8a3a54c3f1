"""The first config: what each column is taken for, and that it trains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from declarlm import DataError, DeclarLM, load_config
from declarlm.cli import main
from declarlm.data.tables import read_table
from declarlm.planning.columns import Column, describe, follows_from
from declarlm.planning.init import first_config

TABLES = {  # table, target -> type of the target, inputs, what is left out
    "adult/train.csv income": ("binary", 14, set()),
    "banking77/train.csv label": ("category", 1, set()),
    "e2e_extraction/train.csv json": ("json", 1, {"mr", "food", "priceRange", "area"}),
    "e2e_extraction/train.csv food": ("category", 5, set()),
    "gpteacher_code/train.jsonl output": ("text", 2, set()),
    "sms_spam/train.csv label": ("binary", 1, set()),
    "snips/train.jsonl intent": ("category", 1, {"id", "tokens", "slot_tags"}),
    "snips/train.jsonl slot_tags": ("sequence", 1, {"id", "text", "intent"}),
    "sgd_dialogues/train.jsonl messages": ("conversation", 1, {"id", "services"}),
    "sgd_dialogues/train.jsonl services": ("set", 1, {"id"}),
    "squad_v2_subset/train.csv answer_text": ("text", 4, {"id", "is_impossible", "all_answers"}),
    "stsb_en/train.csv score": ("number", 2, set()),
    "wine_quality/train.csv quality": ("category", 12, set()),
    "wine_quality/train.csv alcohol": ("number", 12, set()),
    "uner_ewt/train.jsonl text": ("text", 1, {"id", "tokens", "ner_tags"}),
    "uner_ewt/train.jsonl ner_tags": ("sequence", 1, {"id", "text"}),
    "dpo_demo/train.jsonl chosen": ("text", 2, {"rejected"}),
    "corpora/tinyshakespeare.txt text": ("text", 1, set()),
}
WRITTEN = ("text", "json", "conversation")  # by a language model


def column(cells: list[object], name: str = "column") -> tuple[str | None, str]:
    """Type and note of a column with these cells."""
    table = read_table(pd.DataFrame({name: pd.Series(cells, dtype=object)}))
    found = describe(table, name)
    return found.type, found.note


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["yes", "no"] * 10, ("binary", "no or yes")),
        ([0, 1] * 10, ("binary", "0 or 1")),
        (["a", "b", "c"] * 10, ("category", "3 values")),
        ([1, 2, 3] * 10, ("category", "3 values; as a number, if their order matters")),
        ([row / 7 for row in range(30)], ("number", "")),
        ([str(row * 3) for row in range(30)], ("number", "")),
        ([*map(str, range(3, 90, 3)), "n/a"], ("number", "n/a: missing")),
        ([f"word {row} and more of them" for row in range(30)], ("text", "about 6 words")),
        (["same"] * 30, (None, "one value only")),
        ([None] * 30, (None, "empty")),
        (["", "  "] * 15, (None, "empty")),
        (list(range(30)), (None, "an identifier")),
        ([f"2024-01-{day:02} 10:00" for day in range(1, 31)], ("date", "")),
        ([f"{day}.1.2024" for day in range(1, 31)], ("date", "")),
        ([f"{day}.2.2024" for day in range(1, 31)], (None, "dates in no one format; write them as 2026-11-27")),
        ([f"user{row}@example.org" for row in range(30)], (None, "an identifier: every cell is another word")),
        ([["a", "b"], ["b"], []] * 10, ("set", "any of 2 labels")),
        (["['a', 'b']", '["b"]', ""] * 10, ("set", "any of 2 labels")),
        ([["a", "b", "a"]] * 30, (None, "lists of words")),
        ([[]] * 30, (None, "empty lists")),
        ([[0.5, 1]] * 30, ("vector", "2 numbers")),
        (["[0.5 1. ]"] * 30, ("vector", "2 numbers")),
        ([[0.5, 1], [2]] * 15, (None, "lists of numbers, not equally many")),
        ([["a", 1]] * 30, (None, "lists of different kinds of values")),
        ([{"a": 1}] * 30, ("json", "objects")),
        (['{"a": 1}'] * 30, ("json", "objects")),
        ([[{"a": 1}]] * 30, ("json", "lists of objects")),
        ([[{"role": "user", "content": "Hi", "weight": 0}]] * 30, ("conversation", "turns of a conversation")),
        ([[{"from": "human", "value": "Hi"}]] * 30, ("conversation", "turns of a conversation")),
        ([["a"], "b c"] * 15, (None, "lists or objects beside other cells")),
        (["[draft] words and more", "{more} words", "words"] * 10, ("category", "3 values")),
    ],
)
def test_a_column_is_judged_by_its_cells(cells, expected):
    assert column(cells) == expected


def test_whole_numbers_under_the_name_of_an_identifier_are_one():
    numbers = [7 * row * row for row in range(30)]
    assert column(numbers, "order_id") == (None, "an identifier")
    assert column(numbers, "Unnamed: 0") == (None, "an identifier")
    assert column(numbers, "price") == ("number", "")
    assert column([*numbers, 7], "order_id") == ("number", "")


def test_a_column_made_from_the_target_is_found():
    table = pd.DataFrame({"label": ["a", "b", "c"] * 30})
    table["code"] = table["label"].map({"a": 1, "b": 2, "c": 3})
    table["group"] = table["label"].map({"a": "x", "b": "x", "c": "y"})
    table["nearly"] = ["a" if row == 4 else label for row, label in enumerate(table["label"])]
    table["often"] = ["a" if row % 9 == 4 else label for row, label in enumerate(table["label"])]
    table["rare"] = ["rare" if row == 4 else "usual" for row in range(90)]
    table["other"] = [row % 7 for row in range(90)]
    assert follows_from(table, "label", list(table.columns)[1:]) == {"code", "group", "nearly"}
    unique = table.assign(label=range(90))
    assert follows_from(unique, "label", list(table.columns)[1:]) == set()


@pytest.mark.parametrize("table", TABLES)
def test_config_of_real_tables_is_valid(table, shared):
    name, target = table.split()
    path = shared / "data" / name
    kind, num_inputs, left_out = TABLES[table]
    text = first_config(read_table(path), target, source=str(path))
    config = load_config(text)
    assert len(config.input_features) == num_inputs
    if kind == "conversation":
        assert [(feature.name, feature.type) for feature in config.output_features] == [("reply", "text")]
    elif config.trainer.type != "pretrain":
        assert [(feature.name, feature.type) for feature in config.output_features] == [(target, kind)]
    assert config.is_llm == (kind in WRITTEN)
    named = {line.split(": ")[1].split(" (")[0] for line in text.splitlines() if line.startswith("  # left out: ")}
    assert named == left_out
    assert max(map(len, text.splitlines())) <= 130


@pytest.mark.parametrize("table", [name for name, (kind, *_) in TABLES.items() if kind not in WRITTEN])
def test_config_of_real_tables_trains(table, shared, tmp_path):
    name, target = table.split()
    path = shared / "data" / name
    rows = read_table(path).head(400)
    text = first_config(read_table(path), target, source=str(path))
    few = {"trainer.train_steps": 3, "trainer.epochs": 1}
    result = DeclarLM(text, overrides=few).train(rows, output=tmp_path)
    assert target in result.metrics["test"]


@pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")
@pytest.mark.parametrize("target", ["output", "instruction"])
def test_config_of_a_language_model_trains(target, shared, stories, tmp_path):
    path = shared / "data" / "gpteacher_code" / "train.jsonl"
    rows = read_table(path).head(40)
    text = first_config(rows, target, source=str(path), base_model=stories)
    assert f"base_model: {stories}" in text or f'base_model: "{stories}"' in text
    changes = {"trainer.train_steps": 2, "trainer.epochs": 1, "generation.max_new_tokens": 2}
    result = DeclarLM(text, overrides=changes).train(rows, output=tmp_path)
    assert result.metrics["test"][target]["perplexity"] > 1


def test_a_named_base_model_predicts_labels_too():
    rows = pd.DataFrame({"text": [f"message number {i}" for i in range(30)], "label": ["ham", "spam"] * 15})
    config = load_config(first_config(rows, "label", source="rows.csv", base_model="owner/model"))
    assert (config.model_type, config.base_model) == ("llm", "owner/model")
    assert config.prompt.template == "{{ text }}\nlabel:"


def test_names_that_need_care_are_quoted_and_get_no_template():
    names = ["true", "1st", "a: b", "it's", 'a "b"', "größe 😀", "a\nb", "x#y", "[z]", "null"]
    sentences = [f"sentence {row} of several words" for row in range(30)]
    table = pd.DataFrame({**{name: [f"{name} {text}" for text in sentences] for name in names}, "no": sentences})
    text = first_config(table, "no", source="my rows.csv")
    assert first_config(table, "a\nb", source="rows.csv")  # the name stands in comments too
    assert [feature.name for feature in load_config(text).input_features] == names
    assert "template" not in text
    assert "--dataset 'my rows.csv'" in text


def test_missing_targets_and_numbers_are_taken_care_of(tmp_path):
    rows = pd.DataFrame(
        {
            "size": ["?" if row % 11 == 5 else str(row / 3) for row in range(60)],
            "label": [None if row % 10 == 7 else "ab"[row % 2] for row in range(60)],
        }
    )
    text = first_config(read_table(rows), "label", source="rows.csv")
    config = load_config(text)
    assert config.preprocessing.missing_values == ["", "?"]
    assert config.output_features[0].preprocessing.missing_value_strategy == "drop_row"
    assert "6 rows have none and are left out" in text
    DeclarLM(text, overrides={"trainer.epochs": 1}).train(rows, output=tmp_path)


@pytest.mark.parametrize(
    ("form", "written", "note"),
    [
        ("%d.%m.%Y", lambda day: f"{day.day}.{day.month}.{day.year}", ""),
        ("%m/%d/%Y", lambda day: f"{day.month}/{day.day}/{day.year}", ""),
        ("%d/%m/%Y %H:%M", lambda day: f"{day.day:02}/{day.month:02}/{day.year} 14:05", ""),
        ("%m/%d/%y", lambda day: f"{day.day % 3 + 1}/{day.month}/26", "or %d/%m/%y: every cell fits both"),
        (None, lambda day: day.isoformat(), ""),
    ],
)
def test_dates_are_read_as_they_are_written(form, written, note, tmp_path):
    days = pd.date_range("2026-01-01", periods=40, freq="9D")
    rows = pd.DataFrame({"day": [written(day) for day in days], "late": ["yes", "no"] * 20})
    text = first_config(rows, "late", source="rows.csv")
    (feature,) = load_config(text).input_features
    assert (feature.type, feature.preprocessing.datetime_format) == ("date", form)
    assert f"  # {note}\n" in text if note else "type: date" in text
    DeclarLM(text, overrides={"trainer.epochs": 1}).train(rows, output=tmp_path)


def test_gaps_among_numbers_that_belong_together_are_filled(tmp_path):
    rows = pd.DataFrame({"place": [None if row % 9 == 4 else [row, -row] for row in range(40)], "on": ["y", "n"] * 20})
    text = first_config(read_table(rows), "on", source="rows.jsonl")
    assert load_config(text).input_features[0].preprocessing.missing_value_strategy == "fill_with_const"
    DeclarLM(text, overrides={"trainer.epochs": 1}).train(rows, output=tmp_path)


def test_a_conversation_beside_an_answer_goes_through_the_chat_template():
    turns = [[{"role": "user", "content": f"Hi {row}"}] for row in range(30)]
    rows = pd.DataFrame({"messages": turns, "reply": [f"Hello to you, number {row}" for row in range(30)]})
    config = load_config(first_config(read_table(rows), "reply", source="rows.jsonl"))
    assert (config.input_features[0].type, config.prompt.template) == ("conversation", None)
    assert (
        load_config(first_config(read_table(rows), "messages", source="rows.jsonl")).output_features[0].name == "answer"
    )


def test_preferences_are_learned_as_such():
    rows = pd.DataFrame(
        {name: [f"{name} number {row}" for row in range(30)] for name in ("prompt", "chosen", "rejected")}
    )
    config = load_config(first_config(rows, "chosen", source="rows.csv"))
    assert (config.trainer.type, config.trainer.rejected_column) == ("dpo", "rejected")
    assert [feature.name for feature in config.input_features] == ["prompt"]


def test_preferences_between_whole_conversations_are_learned_as_such(tmp_path):
    asked = {"role": "user", "content": "Is it open?"}
    rows = pd.DataFrame(
        {
            name: [[asked, {"role": "assistant", "content": f"{word} {row}"}] for row in range(30)]
            for name, word in {"chosen": "Yes, until", "rejected": "Who knows"}.items()
        }
    )
    text = first_config(read_table(rows), "chosen", source="rows.jsonl")
    config = load_config(text)
    assert (config.trainer.type, config.output_features[0].column) == ("dpo", "chosen")
    few = {"trainer.epochs": 1, "trainer.train_steps": 2}
    assert "reply" in DeclarLM(text, overrides=few).train(rows, output=tmp_path).metrics["test"]


def test_a_language_model_is_not_asked_for_tags():
    rows = pd.DataFrame({"words": [["a"] * (1 + row % 3) for row in range(30)]})
    rows["tags"] = rows["words"].map(lambda words: ["O"] * len(words))
    with pytest.raises(DataError, match="'tags': is of type sequence, which language models do not predict; encoders"):
        first_config(rows, "tags", source="rows.jsonl", base_model="starter")
    assert load_config(first_config(rows, "tags", source="rows.jsonl")).output_features[0].type == "sequence"


def test_two_texts_of_one_kind_are_compared():
    rows = pd.DataFrame({f"sentence_{k}": [f"{k} some words {i}" for i in range(40)] for k in "ab"})
    rows["score"] = [row * 0.37 for row in range(40)]
    config = load_config(first_config(rows, "score", source="rows.csv"))
    assert config.combiner.type == "comparator"
    assert config.input_features[1].tied == "sentence_a"
    other = rows.rename(columns={"sentence_b": "title"})
    assert load_config(first_config(other, "score", source="rows.csv")).combiner.type == "concat"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("lable", "rows.csv: no column is named 'lable' (did you mean 'label'?), choose from: always, label, words"),
        ("always", "column 'always': cannot be predicted: it holds one value only"),
        ("words", "column 'words': cannot be predicted: it holds lists of words"),
        ("day", "column 'day': cannot be predicted: it holds dates, which are read, not predicted"),
        ("label", "rows.csv: no other column tells anything about 'label'"),
    ],
)
def test_what_cannot_be_predicted_is_refused(target, message):
    rows = pd.DataFrame({"label": ["a", "b"] * 20, "always": "x", "words": [["w", "w"]] * 40})
    if target == "day":
        rows["day"] = [f"2026-11-{1 + row % 28:02}" for row in range(40)]
    with pytest.raises(DataError) as caught:
        first_config(rows, target, source="rows.csv")
    assert str(caught.value) == message


def test_the_command_writes_a_file_and_never_replaces_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"age": [row * 1.5 for row in range(30)], "rich": ["yes", "no"] * 15})
    rows.to_csv("rows.csv", index=False)
    arguments = ["init", "--from", "rows.csv", "--target", "rich", "--output", "first.yaml"]
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    assert capsys.readouterr() == (
        "",
        "first.yaml is written; next: declarlm train -c first.yaml --dataset rows.csv\n",
    )
    written = Path("first.yaml").read_text()
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "first.yaml exists; choose another file" in capsys.readouterr().err
    assert Path("first.yaml").read_text() == written
    with pytest.raises(SystemExit) as left:
        main(arguments[:5])
    assert capsys.readouterr() == (written, "")


def test_a_column_says_how_much_is_missing():
    table = read_table(pd.DataFrame({"a": ["x y", None, "z", ""]}))
    assert describe(table, "a") == Column("a", "binary", "x y or z", (), num_missing=2, num_distinct=2, num_words=1.5)
