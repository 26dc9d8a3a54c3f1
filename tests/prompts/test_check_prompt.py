"""What is found wrong with a prompt before there is a model or a table."""

from typing import Any

import pytest

from declarlm.core import ConfigError
from declarlm.prompts import Prompt, check_prompt

BRACES = (
    "in a {column} template a brace that is text is written twice ({{ and }}); in a Jinja template, "
    "prompt.syntax: jinja, single braces are text and a column is {{ column }}"
)


def problems(
    prompt: dict[str, Any], inputs: Any = ("text",), outputs: Any = ("label",), columns: Any = None
) -> list[str]:
    return [str(problem) for problem in check_prompt(Prompt.load(prompt), inputs, outputs, columns)]


@pytest.mark.parametrize(
    "prompt",
    [
        {},
        {"task": "Say it."},
        {"template": "Text: {text}"},
        {"template": "Text: {{ text }}"},
        {"template": "{year:.2f} {text:>10}"},
        {"template": "{first name} {a.b}"},
        {"template": "{{text}}"},
        {"template": "{% for word in text.split() %}{{ word }} {% endfor %}"},
        {"template": 'Return {{"a": 1}} for {text}'},
        {"template": 'Return {"a": 1} for {{ text }}'},
        {"template": "{{ task }}: {{ text }}", "task": "Do"},
        {"template": "{__task__}: {__sample__}", "task": "Do"},
        {"template": "{instruction} {input}"},
        {"template": "{{ text }} {% raw %}{note}{% endraw %}", "syntax": "jinja"},
        {"system": 'You answer {"json": true}.'},
        {"system": "You help {{ customer }}.", "template": "{{ text }}"},
        {"answer": "The answer is {label}."},
        {"answer": '{"label": "{{ label }}"}'},
        {"answer": '{{"label": "{label}"}}'},
    ],
)
def test_these_are_fine_without_a_table(prompt: dict[str, Any]) -> None:
    assert problems(prompt) == []


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (
            {"template": "Text: {texd}"},
            "prompt.template: there is no column 'texd' (did you mean 'text'?), choose from: text, year",
        ),
        (
            {"template": "{{ txt }} {{ text }} {{ yaer }}"},
            "prompt.template: there is no column 'txt' (did you mean 'text'?), choose from: text, year; "
            "there is no column 'yaer' (did you mean 'year'?), choose from: text, year",
        ),
        (
            {"template": "{{ text }} {year}"},
            "prompt.template: can be read as a {column} template (fields: year) and as Jinja (fields: text); "
            "say which with prompt.syntax: format or jinja",
        ),
        (
            {"template": "{{ texd }} {yaer}"},
            "prompt.template: can be read as a {column} template (fields: yaer) and as Jinja (fields: texd); "
            "say which with prompt.syntax: format or jinja",
        ),
        (
            {"template": "{context} {text}"},
            "prompt.template: there is no column 'context' (did you mean 'text'?), choose from: text, year; "
            "examples stand there where the config has prompt.retrieval",
        ),
        ({"template": "Hello"}, "prompt.template: names no column; write {text} where the cell belongs"),
        ({"template": 'JSON {"a": 1} {text}'}, f'prompt.template: {{"a"}} is no column; {BRACES}'),
        ({"template": "{} {text}"}, f"prompt.template: {{}} is no column; {BRACES}"),
        ({"template": "{0}"}, f"prompt.template: {{0}} is no column; {BRACES}"),
        (
            {"template": "a } {text}"},
            f"prompt.template: has a brace without its partner (Single '}}' encountered in format string); {BRACES}",
        ),
        (
            {"template": "{text!r}"},
            "prompt.template: {text!r}: conversions are not supported, write {text}",
        ),
        (
            {"template": "{text:>9999999999}"},
            "prompt.template: {text:>9999999999}: width and precision must be at most 1000",
        ),
        (
            {"template": "{text: please}"},
            f"prompt.template: {{text: please}}: ' please' is no format of Python, such as .2f; {BRACES}",
        ),
        (
            {"template": "{{ text | uper }}"},
            "prompt.template: as a Jinja template, fails in line 1: No filter named 'uper'.",
        ),
        (
            {"template": "{% if text %}\n{{ text }}"},
            "prompt.template: as a Jinja template, fails in line 2: Unexpected end of template. Jinja was looking for "
            "the following tags: 'elif' or 'else' or 'endif'. The innermost block that needs to be closed is 'if'.",
        ),
        (
            {"template": "{{ text }}{% include 'secret' %}"},
            "prompt.template: as a Jinja template, may not use {% include %}",
        ),
        (
            {"template": "{text} {label}"},
            "prompt.template: names the output 'label': the model would be shown the answer",
        ),
        (
            {"template": "{text}", "system": "The answer is {label}."},
            "prompt.system: names the output 'label': the model would be shown the answer",
        ),
        (
            {"template": "{__context__} {text}"},
            "prompt.template: {__context__} stands for solved examples: write prompt.retrieval: {type: semantic}, or "
            "random",
        ),
        (
            {"template": "{text}", "retrieval": {"type": "random"}},
            "prompt.template: shows no examples; write {context} where they belong, or remove prompt.retrieval",
        ),
        (
            {"template": "{context} {task}", "task": "Do it.", "retrieval": {"type": "random"}},
            "prompt.template: names no column; write {text} where the cell belongs",
        ),
        (
            {"retrieval": {"type": "random", "example": "{text}"}},
            "prompt.retrieval.example: does not show the output 'label'; write {label}",
        ),
        (
            {"retrieval": {"type": "random", "example": "{txt} {label}"}},
            "prompt.retrieval.example: there is no column 'txt' (did you mean 'text'?), choose from: label, text, year",
        ),
        (
            {"template": "{__task__} {text}"},
            "prompt.template: {__task__} stands for prompt.task, which is not set",
        ),
        (
            {"template": "{text}", "task": "Do it."},
            "prompt.template: does not use prompt.task; write {task} where it belongs, or remove prompt.task",
        ),
        (
            {"system": "You help {{ nobody }}.", "template": "{{ text }}"},
            "prompt.system: there is no column 'nobody', choose from: text, year",
        ),
        ({"system": 'You answer {"a": {text}}.'}, f'prompt.system: {{"a"}} is no column; {BRACES}'),
        (
            {"answer": "It is {lable}."},
            "prompt.answer: there is no output 'lable' (did you mean 'label'?), choose from: label",
        ),
        ({"answer": "It is so."}, "prompt.answer: must name each output once, and names 'label' 0 times"),
        ({"answer": "{label} {label}"}, "prompt.answer: must name each output once, and names 'label' 2 times"),
        ({"answer": "{label:>9}"}, "prompt.answer: cannot format an output; write {name}"),
        (
            {"answer": "{{ label | upper }}"},
            "prompt.answer: may hold text and outputs only: it must be clear where each one starts",
        ),
    ],
)
def test_wrong_prompt_is_explained(prompt: dict[str, Any], expected: str) -> None:
    assert problems(prompt, columns=["text", "label", "year"]) == [expected]


def test_several_outputs_need_order_and_text_between() -> None:
    outputs = ["intent", "urgency"]
    assert problems({"answer": "{urgency}, {intent}"}, outputs=outputs) == [
        "prompt.answer: must name the outputs in the order of output_features: intent, urgency"
    ]
    assert problems({"answer": "{intent}{urgency}"}, outputs=outputs) == [
        "prompt.answer: needs text between 'intent' and 'urgency', which tells where one ends"
    ]


def test_all_problems_come_at_once() -> None:
    prompt = {"template": "{a} {text}", "system": "{b}", "answer": "{c}"}
    paths = [problem.path for problem in check_prompt(Prompt.load(prompt), ["text"], ["label"], ["text"])]
    assert paths == ["prompt.template", "prompt.system", "prompt.answer"]


def test_columns_decide_between_two_readings() -> None:
    both = {"template": "{{ a }} {b}"}
    assert problems(both) == []  # Columns may tell.
    assert problems(both, columns=["text", "a"]) == []
    assert problems(both, columns=["text", "b"]) == []
    assert len(problems(both, columns=["text", "a", "b"])) == 1
    assert problems({**both, "syntax": "format"}, columns=["text", "a", "b"]) == []


def test_feature_named_task_is_the_feature() -> None:
    assert problems({"template": "{task}: {text}"}, inputs=["task", "text"]) == []
    assert problems({"template": "{task} {__task__}", "task": "Do"}, inputs=["task"]) == []


def test_misspelled_key_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'tempate'.*did you mean 'template'"):
        Prompt.load({"tempate": "x"})


def test_prompt_survives_dump_and_load() -> None:
    prompt = Prompt(task="Do", template="{text}", syntax="format", chat=False, system="S", answer="{a}")
    assert Prompt.load(prompt.dump()) == prompt
