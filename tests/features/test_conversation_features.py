"""Conversations in a table: how cells are read, what a config may say of them, and a model that learns them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_bases import save_tiny_llama

from declarlm import ConfigError, DataError, DeclarLM
from declarlm.config import load_config
from declarlm.features.conversation import as_conversations
from declarlm.prompts.turns import Turn

TURNS = [
    {"role": "user", "content": "a red cat"},
    {"role": "assistant", "content": "good"},
    {"role": "user", "content": "a white cat"},
    {"role": "assistant", "content": "not bad"},
]
CHAT = {
    "base_model": "starter",
    "input_features": [{"name": "messages", "type": "conversation"}],
    "output_features": [{"name": "reply", "type": "text"}],
}


def read(cell: Any) -> Any:
    return as_conversations(pd.Series([cell], name="talk", index=["r"], dtype=object)).iloc[0]


@pytest.mark.parametrize(
    "cell",
    [
        TURNS,
        tuple(TURNS),
        json.dumps(TURNS),
        f" {json.dumps(TURNS)}\n",
        pd.Series(TURNS).to_numpy(),
        [{"from": {"user": "human", "assistant": "gpt"}[t["role"]], "value": t["content"]} for t in TURNS],
        [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in TURNS],
        [{**turn, "tool_calls": None, "name": "x", "weight": 1} for turn in TURNS],
        [{**turn, "weight": None, "train": None, "tool_calls": []} for turn in TURNS],
        [{**turn, "weight": pd.NA, "train": pd.NA, "tool_calls": float("nan")} for turn in TURNS],
    ],
)
def test_spellings_of_the_same_conversation(cell: Any) -> None:
    found = read(cell)
    assert found.turns == tuple(Turn(turn["role"], turn["content"]) for turn in TURNS)  # type: ignore[arg-type]
    assert found == "user: a red cat\nassistant: good\nuser: a white cat\nassistant: not bad"


@pytest.mark.parametrize("cell", [None, float("nan"), "", " ", [], "[]"])
def test_cells_without_a_conversation_are_missing(cell: Any) -> None:
    assert read(cell) is None


@pytest.mark.parametrize(
    ("change", "learned"),
    [({"weight": 0}, False), ({"weight": 1}, True), ({"train": False}, False), ({"train": True, "weight": 0.0}, False)],
)
def test_a_turn_says_whether_it_is_learned(change: dict[str, Any], learned: bool) -> None:
    assert read([TURNS[0], {**TURNS[1], **change}]).turns[1].learned is learned


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("hello", '\'hello\' is no conversation; write a list such as [{"role": "user"'),
        (3, "3 is no conversation; write a list such as"),
        ({"role": "user", "content": "x"}, "is no conversation; write a list such as"),
        ([TURNS[0], "hi"], 'turn 2 of 2 must be a mapping such as {"role": "user", "content": "Hi"}, got \'hi\''),
        (
            [TURNS[0], {"role": "bard", "content": "x"}],
            "turn 2 of 2 has the role 'bard'; it must be one of user, assist",
        ),
        (
            [{"from": "me", "value": "x"}],
            "turn 1 of 1 has the from 'me'; it must be one of user, assistant, system, tool",
        ),
        ([{"content": "x"}], "turn 1 of 1 must have 'role' and 'content', or 'from' and 'value'; it has 'content'"),
        (
            [{"role": "user", "text": "x"}],
            "turn 1 of 1 must have 'role' and 'content', or 'from' and 'value'; it has 'role'",
        ),
        ([{"role": "user", "content": None}], "turn 1 of 1 must have a text as 'content', got None"),
        ([{"role": "user", "content": 3}], "turn 1 of 1 must have a text as 'content', got 3"),
        ([{"role": "user", "content": [{"type": "image"}]}], "turn 1 of 1 must have a text as 'content', got "),
        (
            [TURNS[0], {"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]}],
            "turn 2 of 2 has tool_calls, which",
        ),
        (
            [TURNS[0], {"role": "assistant", "content": "", "function_call": {"name": "book"}}],
            "turn 2 of 2 has function_call, which is not learned yet; write the call as text into content, or",
        ),
        (
            [{**TURNS[0], "weight": np.array([0, 1])}],
            "turn 1 of 1 has the weight [0, 1]; it must be 0 (not learned) or 1",
        ),
        ([TURNS[0], {**TURNS[1], "weight": 0.5}], "turn 2 of 2 has the weight 0.5; it must be 0 (not learned) or 1"),
        ([TURNS[0], {**TURNS[1], "train": "no"}], "turn 2 of 2 has train: 'no'; it must be true or false"),
    ],
)
def test_what_is_no_conversation_is_told_with_row_and_turn(cell: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(cell)
    assert str(caught.value).startswith(f"column 'talk', row r: {message}") or message in str(caught.value)


def test_the_output_is_the_last_turn_where_the_conversation_stands_alone() -> None:
    for changes in ({}, {"trainer": "none"}, {"prompt": {"system": "Be kind."}}):
        config = load_config({**CHAT, **changes})
        (output,) = config.output_features
        assert (config.is_chat, output.source, output.preprocessing.reply) == (True, "messages", True)


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": {"task": "Sum it up."}},
        {"prompt": {"template": "{messages}\nTopic:"}},
        {"input_features": [*CHAT["input_features"], {"name": "city", "type": "text"}]},
        {"output_features": [{"name": "reply", "type": "category"}]},
        {"output_features": [{"name": "reply", "type": "text"}, {"name": "kind", "type": "category"}]},
    ],
)
def test_elsewhere_a_conversation_is_read_as_text(changes: dict[str, Any]) -> None:
    config = load_config({**CHAT, **changes})
    assert (config.is_chat, config.output_features[0].source) == (False, "reply")


def test_an_answer_may_have_a_column_of_its_own() -> None:
    outputs = [{"name": "reply", "type": "text", "column": "answer"}]
    for changes in ({"output_features": outputs}, {"trainer": "dpo"}):
        (output,) = load_config({**CHAT, "adapter": "lora", **changes}).output_features
        assert (output.source, output.preprocessing.reply) == ("reply" if "trainer" in changes else "answer", False)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"prompt": {"answer": "So: {reply}"}}, "prompt.answer", "has no effect on a conversation"),
        ({"prompt": {"retrieval": {"type": "random"}}}, "prompt.retrieval", "has no effect on a conversation"),
        (
            {
                "output_features": [{"name": "reply", "type": "text", "preprocessing": {"reply": True}}],
                "prompt": {"task": "x"},
            },
            "output_features[0].preprocessing.reply",
            "is for a conversation that is the only input",
        ),
        ({"prompt": {"system": "Sum up {messages}."}}, "prompt.system", "the model would be shown the answer"),
        ({"output_features": []}, "output_features", "what a conversation says last is [{name: reply, type: text}]"),
        (
            {"output_features": [{"name": "reply", "type": "text", "preprocessing": {"alternatives": True}}]},
            "output_features[0].preprocessing.alternatives",
            "a conversation has one",
        ),
        (
            {"output_features": [{"name": "r", "type": "text", "preprocessing": {"max_sequence_length": 9}}]},
            "output_features[0].preprocessing.max_sequence_length",
            "write generation.max_new_tokens",
        ),
        (
            {"output_features": [{"name": "r", "type": "text", "preprocessing": {"missing_value_strategy": "bfill"}}]},
            "output_features[0].preprocessing.missing_value_strategy",
            "must be error or drop_row for a reply, got bfill",
        ),
    ],
)
def test_what_a_conversation_cannot_have_is_a_config_error(changes: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({**CHAT, **changes})
    assert [(problem.path, message in problem.message) for problem in caught.value.problems] == [(path, True)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "base", context_length=128)


def chat(base: str, **changes: Any) -> DeclarLM:
    trainer = {"epochs": 60, "learning_rate": 0.01, "batch_size": 4}
    split = {"type": "random", "probabilities": [1, 0, 0]}
    config = {**CHAT, "base_model": base, "trainer": trainer, "preprocessing": {"split": split}, **changes}
    return DeclarLM(config)


def talks() -> list[Any]:
    colors = {"red": "good", "white": "bad"}

    def exchange(asked: str, said: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]

    pairs = [(first, second) for first in colors for second in colors] * 2
    return [
        [*exchange(f"the {one} cat", colors[one]), *exchange(f"{two} wine", f"{colors[two]} food")]
        for one, two in pairs
    ]


def test_a_model_learns_earlier_turns_too_and_is_the_same_after_loading(base: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"messages": talks()})
    model = chat(base).train(rows, output=tmp_path, name="run").model
    asked = pd.DataFrame({"messages": [talk[: 1 + 2 * (place % 2)] for place, talk in enumerate(talks()[:4])]})
    found = model.predict(asked)
    assert list(found.reply_predictions) == ["good", "bad food", "bad", "bad food"]
    assert list(model.predict(rows).reply_predictions) == [talk[3]["content"] for talk in talks()]
    again = DeclarLM.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.predict(asked), found)
    assert again.evaluate(rows).metrics["reply"]["exact_match"] == 1.0
    assert set(again.compare(rows).samples.reply) <= {"good food", "bad food"}


def test_the_same_conversations_from_csv_jsonl_and_parquet(base: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"messages": talks()})
    rows.assign(messages=rows.messages.map(json.dumps)).to_csv(tmp_path / "t.csv", index=False)
    rows.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    rows.to_parquet(tmp_path / "t.parquet")
    previews = [str(chat(base).preview(table)) for table in (rows, *map(str, sorted(tmp_path.glob("t.*"))))]
    assert len(previews) == 4
    assert len(set(previews)) == 1


def test_rows_without_a_reply_are_told_or_left_out(base: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"messages": [*talks(), TURNS[:3], None]})
    with pytest.raises(DataError, match=r"column 'messages', row 9: is missing; write preprocessing.missing_value_str"):
        chat(base).train(rows, output=tmp_path)
    with pytest.raises(
        DataError,
        match=r"column 'messages', row 8: ends without a turn of the assistant that is learned; write prep"
        ".*drop_row for the output 'reply' to leave such rows out",
    ):
        chat(base).train(rows.iloc[:9], output=tmp_path)
    dropping = {"preprocessing": {"missing_value_strategy": "drop_row"}}
    inputs, outputs = ([{**CHAT[side][0], **dropping}] for side in ("input_features", "output_features"))
    model = chat(base, input_features=inputs, output_features=outputs, trainer={"train_steps": 1})
    run = model.train(rows, output=tmp_path).directory
    assert json.loads((run / "data.json").read_text())["dropped"] == {"messages": 2}


def test_a_reply_in_a_column_of_its_own(base: str, tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"messages": [talk[:3] for talk in talks()], "answer": [talk[3]["content"] for talk in talks()]}
    )
    outputs = [{"name": "reply", "type": "text", "column": "answer"}]
    model = chat(base, output_features=outputs).train(rows, output=tmp_path).model
    assert list(model.predict(rows.drop(columns="answer")).reply_predictions) == list(rows.answer)


def test_preferences_between_answers_to_a_conversation(base: str, tmp_path: Path) -> None:
    asked = [talk[:3] for talk in talks()]
    chosen = [talk[3]["content"] for talk in talks()]
    rows = pd.DataFrame({"messages": asked, "chosen": chosen, "rejected": [text[::-1] for text in chosen]})
    outputs = [{"name": "chosen", "type": "text"}]
    trainer = {"type": "dpo", "rejected_column": "rejected", "epochs": 12, "learning_rate": 0.01, "batch_size": 4}
    model = chat(base, output_features=outputs, adapter="lora", trainer=trainer)
    result = model.train(rows, output=tmp_path)
    assert "a white cat" not in str(model.preview(rows.head(1)))
    assert str(model.preview(rows.head(1))).count("[[") == 1
    assert result.model.evaluate(rows).metrics["preferences"]["accuracy"] == 1.0


def test_preferences_between_whole_conversations(base: str, tmp_path: Path) -> None:
    worse = [[*talk[:3], {"role": "assistant", "content": talk[3]["content"][::-1]}] for talk in talks()]
    rows = pd.DataFrame({"messages": talks(), "rejected": worse, "ok": [True, False] * 4})
    outputs = [{**CHAT["output_features"][0], "column": "messages"}]
    for kind in ({"type": "dpo", "rejected_column": "rejected"}, {"type": "kto", "label_column": "ok"}):
        trainer = {**kind, "epochs": 12, "learning_rate": 0.01, "batch_size": 4}
        model = chat(base, output_features=outputs, adapter="lora", trainer=trainer).train(rows, output=tmp_path).model
        if kind["type"] == "dpo":
            assert model.evaluate(rows).metrics["preferences"]["accuracy"] == 1.0


def test_a_row_without_turns_is_told_and_the_others_are_predicted(base: str, tmp_path: Path) -> None:
    model = chat(base, trainer={"train_steps": 1}).train(pd.DataFrame({"messages": talks()}), output=tmp_path).model
    with pytest.warns(UserWarning, match="1 of 2 rows could not be predicted"):
        found = model.predict(pd.DataFrame({"messages": [talks()[0][:1], []]}))
    assert found.reply_error[1] == "column 'messages', row 1: has no turns, so that there is nothing to answer"
    assert isinstance(found.reply_predictions[0], str)


def test_conversations_that_lost_turns_are_counted(base: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"messages": [[*talk, *talk, *talk] for talk in talks()]})
    model = chat(base, trainer={"train_steps": 1})
    with pytest.warns(
        UserWarning, match=r"8 of 8 conversations lost their oldest exchanges, \d+ in all, to fit into 128"
    ):
        model.train(rows, output=tmp_path)


@pytest.mark.parametrize("model_type", ["llm", "ecd"])
def test_a_conversation_is_an_input_like_any_text(base: str, model_type: str, tmp_path: Path) -> None:
    rows = pd.DataFrame({"messages": talks(), "kind": ["a", "b"] * 4})
    config = {**CHAT, "output_features": [{"name": "kind", "type": "category"}], "trainer": {"epochs": 1}}
    config |= {"base_model": base} if model_type == "llm" else {"base_model": None, "model_type": "ecd"}
    config |= {"preprocessing": {"split": {"type": "random", "probabilities": [1, 0, 0]}}}
    model = (
        DeclarLM({key: value for key, value in config.items() if value is not None}).train(rows, output=tmp_path).model
    )
    assert set(model.predict(rows).kind_predictions) <= {"a", "b"}
    assert "user: the red cat\nassistant: good" in str(model.preview(rows))
