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

if TYPE_CHECKING:
    import pandas as pd

STARTER_NOTE = "the small model that ships with Declarlm; any Hugging Face id or folder works"
ENCODER_NOTE = (
    "A pretrained encoder often does better than tf_idf; in place of it:",
    "  encoder: {type: auto_transformer, pretrained_model_name_or_path: sentence-transformers/all-MiniLM-L6-v2}",
)
_PLAIN = re.compile(r"[^\W\d][\w ]*")
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
    goal = describe(table, target)
    if goal.type is None:
        raise DataError(f"cannot be predicted: it holds {goal.note}", column=target)
    known = table[table[target].notna()]
    columns = [describe(known, str(name)) for name in table.columns if name != target]
    derived = follows_from(known, target, [column.name for column in columns if column.type is not None])
    columns = [
        replace(column, type=None, note=f"it follows from {target}, and would give it away")
        if column.name in derived
        else column
        for column in columns
    ]
    inputs = [column for column in columns if column.type is not None]
    left_out = [column for column in columns if column.type is None]
    if not inputs and goal.type == "text" and not derived:
        plan = Plan(source, len(table), goal, [goal], left_out, base_model or "starter")
        return _document(plan, [*_base(plan), *_features(plan), *_pretraining(source)])
    if not inputs:
        raise DataError(f"{source}: no other column tells anything about {target!r}")
    plan = Plan(source, len(table), goal, inputs, left_out, base_model or ("starter" if goal.type == "text" else None))
    if plan.base_model is not None:
        return _document(plan, [*_base(plan), *_features(plan), *_target(plan), *_prompt(plan), *_training(plan)])
    return _document(plan, [*_features(plan), *_target(plan), *_comparison(plan), *_training(plan)])


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
    for column in plan.inputs:
        parts = [f"name: {quoted(column.name)}", f"type: {column.type}"]
        if plan.base_model is None and column.type == "text":
            parts.append(f"tied: {quoted(pair[0])}" if pair and column.name == pair[1] else "encoder: tf_idf")
        lines.append(f"  - {{{', '.join(parts)}}}" + (f"  # {column.note}" if column.note else ""))
    if plan.base_model is None and any(column.type == "text" for column in plan.inputs):
        lines += [f"  # {line}" for line in ENCODER_NOTE]
    return lines + [f"  # left out: {' '.join(f'{column.name} ({column.note})'.split())}" for column in plan.left_out]


def _target(plan: Plan) -> list[str]:
    goal = plan.target
    lines = ["", "output_features:"]
    name = f"name: {quoted(goal.name)}, type: {goal.type}"
    if not goal.num_missing:
        return [*lines, f"  - {{{name}}}" + (f"  # {goal.note}" if goal.note else "")]
    rows = f"{goal.num_missing} rows have none and are left out"
    return [*lines, f"  - {{{name}, preprocessing: {{missing_value_strategy: drop_row}}}}  # {rows}"]


def _prompt(plan: Plan) -> list[str]:
    """Return the template that would be made from the features, to be edited; none where a name needs care."""
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
    missing = f"  missing_values: {json.dumps(['', *gaps], ensure_ascii=False)}"
    return [
        "",
        "preprocessing:",
        f"  split: {{{kind}, probabilities: [0.7, 0.1, 0.2]}}  # train, validation, test",
        *([missing] if gaps else []),
        *(
            ["  overlong: drop  # leave out rows whose answer does not fit into the model"]
            if goal.type == "text"
            else []
        ),
        "trainer:",
        f"  {epochs}",
    ]


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
