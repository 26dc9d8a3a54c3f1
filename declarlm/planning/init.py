"""A first config from a data file: what each column is, and a model that suits the target."""

from __future__ import annotations

import json
import keyword
import math
import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from declarlm.core import DataError
from declarlm.core.errors import choose_from
from declarlm.core.strict_yaml import scalar
from declarlm.planning.columns import Column, describe, follows_from
from declarlm.planning.nested import tagged

if TYPE_CHECKING:
    import pandas as pd

STARTER_NOTE = "the small model that ships with Declarlm; any Hugging Face id or folder works"
_ENCODERS = {False: "tf_idf", True: "{type: transformer, embedding_size: 128, num_heads: 4}"}  # by whether words count
_ENCODER_NOTE = (
    "A pretrained encoder often does better; in place of it:",
    "  encoder: {type: auto_transformer, pretrained_model_name_or_path: sentence-transformers/all-MiniLM-L6-v2}",
)
_PLAIN = re.compile(r"[^\W\d][\w ]*")
_UNREADABLE = {"json": "objects are written, not read"}  # types that are only predicted
_UNPREDICTABLE = {"date": "dates, which are read, not predicted"}
_WITH_A_HEAD = ("sequence", "set", "vector")
_WRITTEN = ("text", "json", "conversation")  # by a language model
_WITHOUT_GAPS = {"vector": "fill_with_const", "conversation": "drop_row"}
_CHOSEN, _REJECTED = "chosen", "rejected"  # what tables of preferences call their answers
_JINJA_WORDS = {"true", "false", "none", "not", "and", "or", "in", "is", "if", "else", "for", "loop", "self", "task"}


@dataclass(frozen=True)
class Plan:
    """What a first config says.

    Attributes:
        source: Where the rows are.
        num_rows: How many there are.
        target: The column to predict.
        inputs: The columns to predict it from.
        left_out: The other columns, each with the reason.
        base_model: Language model to tune; ``None`` for encoders and a head.
    """

    source: str
    num_rows: int
    target: Column
    inputs: list[Column]
    left_out: list[Column]
    base_model: str | None


def first_config(table: pd.DataFrame, target: str, *, source: str, base_model: str | None = None) -> str:
    """Return a commented YAML config that trains on ``table`` to predict the column ``target``.

    A text target makes a language model; any other makes encoders with a head, unless a base model is named. A table
    of one text column makes a language model that learns to continue it.

    Raises:
        DataError: If there is no such column, it cannot be predicted, or no other column tells anything about it.
    """
    if target not in table.columns:
        raise DataError(f"{source}: no column is named {choose_from(target, map(str, table.columns))}")
    words = tagged(table, target)
    goal = _goal(table, target, words, base_model)
    columns = _inputs(table[table[target].notna()], goal, words)
    inputs = [column for column in columns if column.type is not None]
    left_out = [column for column in columns if column.type is None]
    base = base_model or ("starter" if goal.type in _WRITTEN else None)
    if goal.type == "conversation":
        plan = Plan(source, len(table), goal, [goal], left_out, base)
        return _document(plan, [*_base(plan), *_features(plan), *_reply(plan), *_training(plan)])
    if not inputs and goal.type == "text" and all("give it away" not in column.note for column in left_out):
        plan = Plan(source, len(table), goal, [goal], left_out, base)
        return _document(plan, [*_base(plan), *_features(plan), *_pretraining(source)])
    if not inputs:
        raise DataError(f"{source}: no other column tells anything about {target!r}")
    plan = Plan(source, len(table), goal, inputs, left_out, base)
    if plan.base_model is not None:
        return _document(plan, [*_base(plan), *_features(plan), *_target(plan), *_prompt(plan), *_training(plan)])
    return _document(plan, [*_features(plan), *_target(plan), *_comparison(plan), *_training(plan)])


def _goal(table: pd.DataFrame, target: str, words: str | None, base_model: str | None) -> Column:
    """Return what the target is; a tag for each word of the column ``words``, if there is one.

    Raises:
        DataError: If nothing predicts it, or not the language model that is named.
    """
    goal = describe(table, target)
    if words is not None:
        goal = replace(goal, type="sequence", note=f"a tag for each word of {words}")
    if goal.type is None or goal.type in _UNPREDICTABLE:
        note = goal.note if goal.type is None else _UNPREDICTABLE[goal.type]
        raise DataError(f"cannot be predicted: it holds {note}", column=target)
    if base_model is not None and goal.type in _WITH_A_HEAD:
        remedy = "encoders with a head do, so name no base model"
        raise DataError(f"is of type {goal.type}, which language models do not predict; {remedy}", column=target)
    return goal


def _inputs(known: pd.DataFrame, goal: Column, words: str | None) -> list[Column]:
    """Return what the other columns are, without a type those that are left out."""
    columns = [_as_read(known, describe(known, str(name))) for name in known.columns if name != goal.name]
    derived = follows_from(known, goal.name, [column.name for column in columns if column.type is not None])
    notes = {column.name: _UNREADABLE[column.type] for column in columns if column.type in _UNREADABLE}
    notes |= dict.fromkeys(derived, f"it follows from {goal.name}, and would give it away")
    if goal.name == _CHOSEN:
        notes[_REJECTED] = "the worse answer"
    found = []
    for column in columns:
        if column.name == words:
            found.append(replace(column, type="text", note=""))
            continue
        note = notes.get(column.name) or ("no turn of it" if goal.type == "conversation" else "")
        note = note or (f"beside the words of {words}" if words is not None else "")
        found.append(replace(column, type=None, note=note) if note and column.type is not None else column)
    return found


def _as_read(known: pd.DataFrame, column: Column) -> Column:
    """Return the column with the type of an input: objects that are written as text are text."""
    written = column.type == "json" and known[column.name].dropna().map(lambda cell: isinstance(cell, str)).all()
    return replace(column, type="text") if written else column


def _document(plan: Plan, lines: list[str]) -> str:
    data = shlex.quote(plan.source)
    head = [
        f"# To predict {plan.target.name} from {plan.num_rows} rows. Every line may be edited.",
        "# What is wrong with it:     declarlm validate -c FILE",
        f"# How rows will be read:     declarlm preview -c FILE --dataset {data}",
        f"# Train it:                  declarlm train -c FILE --dataset {data}",
    ]
    return "\n".join([*(" ".join(line.splitlines()) for line in head), *lines]) + "\n"


def _base(plan: Plan) -> list[str]:
    base = str(plan.base_model)
    note = f"  # {STARTER_NOTE}" if base == "starter" else ""
    return [
        "",
        "model_type: llm  # a language model reads a row and writes the answer",
        f"base_model: {quoted(base)}{note}",
        "adapter: {type: lora, r: 16}  # small weights beside the frozen base are trained",
    ]


def _features(plan: Plan) -> list[str]:
    lines = ["", "input_features:"]
    pair = _pair(plan)
    encoder = _ENCODERS[plan.target.type == "sequence"]
    for column in plan.inputs:
        parts = [f"name: {quoted(column.name)}", f"type: {column.type}", *_reading(plan, column)]
        if plan.base_model is None and column.type == "text":
            parts.append(f"tied: {quoted(pair[0])}" if pair and column.name == pair[1] else f"encoder: {encoder}")
        lines.append(f"  - {{{', '.join(parts)}}}" + (f"  # {column.note}" if column.note else ""))
    if plan.base_model is None and any(column.type == "text" for column in plan.inputs):
        lines += [f"  # {line}" for line in _ENCODER_NOTE]
    return lines + [f"  # left out: {' '.join(f'{column.name} ({column.note})'.split())}" for column in plan.left_out]


def _reading(plan: Plan, column: Column) -> list[str]:
    """Return how the cells of an input are read, where that is not by default."""
    parts = []
    if column.datetime_format and plan.base_model is None:
        parts.append(f"datetime_format: {json.dumps(column.datetime_format)}")
    if column.num_missing and column.type in _WITHOUT_GAPS:
        parts.append(f"missing_value_strategy: {_WITHOUT_GAPS[column.type]}")
    return [f"preprocessing: {{{', '.join(parts)}}}"] if parts else []


def _target(plan: Plan) -> list[str]:
    goal = plan.target
    lines = ["", "output_features:"]
    name = f"name: {quoted(goal.name)}, type: {goal.type}"
    if not goal.num_missing:
        return [*lines, f"  - {{{name}}}" + (f"  # {goal.note}" if goal.note else "")]
    rows = f"{goal.num_missing} rows have none and are left out"
    return [*lines, f"  - {{{name}, preprocessing: {{missing_value_strategy: drop_row}}}}  # {rows}"]


def _reply(plan: Plan) -> list[str]:
    """Return the output of a conversation: what the assistant says."""
    taken = {plan.target.name, *(column.name for column in plan.left_out)}
    name = next(name for name in ("reply", "answer", f"next turn of {plan.target.name}") if name not in taken)
    cut = "{missing_value_strategy: drop_row}"
    if _is_preferred(plan):
        return ["", "output_features:", f"  - {{name: {name}, type: text, column: {_CHOSEN}}}  # what each says last"]
    note = "  # Every turn of the assistant is learned. A conversation that ends with a user is left out."
    return ["", "output_features:", note, f"  - {{name: {name}, type: text, preprocessing: {cut}}}"]


def _prompt(plan: Plan) -> list[str]:
    """Return the template that would be made from the features, to be edited.

    None where a name needs care, and where a conversation goes through the chat template.
    """
    if plan.target.type == "text" and [column.type for column in plan.inputs] == ["conversation"]:
        return []
    names = [*(column.name for column in plan.inputs), plan.target.name]
    if not all(name.isidentifier() and not keyword.iskeyword(name) and name not in _JINJA_WORDS for name in names):
        return []
    single = len(plan.inputs) == 1
    body = [f"{{{{ {name} }}}}" if single else f"{name}: {{{{ {name} }}}}" for name in names[:-1]]
    return ["", "prompt:", "  template: |-", *[f"    {line}" for line in [*body, f"{plan.target.name}:"]]]


def _comparison(plan: Plan) -> list[str]:
    pair = _pair(plan)
    if pair is None:
        return []
    first, second = map(quoted, pair)
    return ["", f"combiner: {{type: comparator, entity_1: [{first}], entity_2: [{second}]}}  # how alike the two are"]


def _pair(plan: Plan) -> tuple[str, str] | None:
    """Return the two inputs of a table that compares two texts, such as sentence1 and sentence2."""
    if plan.base_model is not None or [column.type for column in plan.inputs] != ["text", "text"]:
        return None
    first, second = (column.name for column in plan.inputs)
    stems = {re.sub(r"[\W_]*([0-9]+|[a-z])$", "", name.lower()) for name in (first, second)}
    return (first, second) if len(stems) == 1 and first != second else None


def _training(plan: Plan) -> list[str]:
    goal = plan.target
    gaps = sorted({gap for column in (*plan.inputs, goal) for gap in column.gaps})
    kind = f"type: stratified, column: {quoted(goal.name)}" if goal.type in ("binary", "category") else "type: random"
    epochs = "epochs: 3  # passes over the training rows"
    if plan.base_model is None:
        epochs = "epochs: 30  # at most: it ends when five in a row bring nothing better"
    preferred = _is_preferred(plan)
    missing = f"  missing_values: {json.dumps(['', *gaps], ensure_ascii=False)}"
    return [
        "",
        "preprocessing:",
        f"  split: {{{kind}, probabilities: [0.7, 0.1, 0.2]}}  # train, validation, test",
        *([missing] if gaps else []),
        *(
            ["  overlong: drop  # leave out rows whose answer does not fit into the model"]
            if goal.type in ("text", "json")
            else []
        ),
        "trainer:",
        *([f"  type: dpo  # learn to prefer {_CHOSEN} to {_REJECTED}", f"  rejected_column: {_REJECTED}"] * preferred),
        f"  {epochs}",
    ]


def _is_preferred(plan: Plan) -> bool:
    """Return whether the table has a worse answer beside the target."""
    return plan.target.name == _CHOSEN and any(column.name == _REJECTED for column in plan.left_out)


def _pretraining(source: str) -> list[str]:
    lines = source.lower().endswith((".txt", ".txt.gz"))
    split = "sequential" if lines else "random"
    return [
        "",
        "preprocessing:",
        f"  split: {{type: {split}, probabilities: [0.9, 0.05, 0.05]}}  # train, validation, test",
        "trainer:",
        "  type: pretrain  # there is nothing to predict it from: learn to continue the text",
        *(["  rows: lines  # of one text; write documents if each line is a text of its own"] * lines),
        "  epochs: 1  # passes over the text",
    ]


def quoted(text: str) -> str:
    """Return a text as a YAML scalar that may stand in braces."""
    import yaml

    if _PLAIN.fullmatch(text) and text == text.strip() and scalar(text) == text:
        return text
    # Not as JSON, whose escapes of an emoji YAML does not know.
    return yaml.dump(text, default_style='"', allow_unicode=True, width=math.inf).rstrip("\n")
