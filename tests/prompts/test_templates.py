"""What a template makes of a row."""

import math
from typing import Any

import pytest
from conftest import make_encoder

from declarlm.core import DataError
from declarlm.prompts import Prompt
from declarlm.prompts.prompt import compile_prompt, default_parts
from declarlm.prompts.segments import Segment, cell_text, is_missing
from declarlm.prompts.templates import Field


def segments(template: str, cells: dict[str, Any], **prompt: Any) -> list[Segment]:
    section = Prompt(template=template, **prompt)
    compiled = compile_prompt(section, list(cells), ["label"], [], list(cells))
    return [segment for segment in compiled.template.render(cells, "r7") if segment.text]


def text(template: str, cells: dict[str, Any], **prompt: Any) -> str:
    return "".join(segment.text for segment in segments(template, cells, **prompt))


@pytest.mark.parametrize("syntax", ["format", "jinja"])
@pytest.mark.parametrize("missing", [None, float("nan"), math.nan])
def test_missing_cell_is_empty(syntax: str, missing: Any) -> None:
    template = "a {x} b" if syntax == "format" else "a {{ x }} b"
    assert text(template, {"x": missing}) == "a  b"


def test_missing_values_of_pandas_are_missing() -> None:
    import numpy as np
    import pandas as pd

    assert all(map(is_missing, [pd.NA, pd.NaT, np.nan, np.float32("nan"), None]))
    assert not any(map(is_missing, ["", 0, False, "nan", []]))


def test_cells_are_written_alike_whatever_the_file_format() -> None:
    import numpy as np

    assert cell_text("3.0") == "3.0"
    assert cell_text(3) == cell_text(3.0) == cell_text(np.float64(3)) == cell_text(np.int8(3)) == "3"
    assert cell_text(np.float32(0.1)) == "0.1"
    assert cell_text(1e300) == "1e+300"
    assert cell_text(True) == "True"
    assert cell_text(math.inf) == "inf"
    assert cell_text(["é", 1]) == '["é", 1]'
    assert cell_text(np.array(["a", "b"])) == '["a", "b"]'


def test_format_writes_numbers_from_text() -> None:
    assert text("{x:.2f}|{n:05d}|{s:>4}", {"x": "3.14159", "n": "42", "s": "ab"}) == "3.14|00042|  ab"
    assert text("[{x:.2f}]", {"x": None}) == "[]"


def test_what_is_no_number_is_refused_with_column_and_row() -> None:
    with pytest.raises(DataError) as caught:
        text("{x:.2f}", {"x": "many"})
    assert str(caught.value) == (
        "column 'x', row r7: 'many' cannot be written as {x:.2f}; clean the column or change the template"
    )


def test_text_of_a_cell_is_never_a_template() -> None:
    cell = "{{ 7*7 }} {x} {% raw %} {__task__}"
    assert text("a {x}", {"x": cell}) == f"a {cell}"
    assert text("a {{ x }}", {"x": cell}) == f"a {cell}"


def test_escaped_braces_are_text() -> None:
    assert text('{{"a": "{x}"}}', {"x": "1"}) == '{"a": "1"}'


def test_line_ends_are_kept_in_both_syntaxes() -> None:
    assert text("{x}\n", {"x": "a"}) == text("{{ x }}\n", {"x": "a"}) == "a\n"


def test_task_and_sample_stand_for_what_the_config_says() -> None:
    cells = {"a": "1", "b": "2"}
    assert text("{__task__} {__sample__}", cells, task="Do {a}") == "Do {a} a: 1\nb: 2"
    assert text("{{ task }} {{ __sample__ }}", cells, task="Do {a}") == "Do {a} a: 1\nb: 2"
    assert segments("{{ task }}{{ __sample__ }}", {"a": "1"}, task="Do ") == [Segment("Do "), Segment("1", "a")]


def test_jinja_sees_lists_and_mappings() -> None:
    cells = {"turns": [{"role": "user", "text": "hi"}, {"role": "bot", "text": None}]}
    template = "{% for turn in turns %}{{ turn.role }}: {{ turn.text }}\n{% endfor %}"
    assert text(template, cells) == "user: hi\nbot: \n"
    assert [piece.column for piece in segments(template, cells)] == ["turns", None, "turns", None, "turns", None]


def test_column_may_have_the_name_of_a_function() -> None:
    assert text("{{ range }}!", {"range": "a"}) == "a!"
    assert text("{% for i in range(2) %}{{ x }}{% endfor %}", {"x": "a"}) == "aa"


@pytest.mark.parametrize("template", ["{{ x.a }}", "{{ x.a.b }}", "{{ x.a() }}", "{{ x | upper }}{{ x.a }}"])
def test_what_text_does_not_have_is_an_error_that_names_the_row(template: str) -> None:
    with pytest.raises(DataError) as caught:
        text(template, {"x": "text"})
    assert str(caught.value) == (
        "row r7: the prompt cannot be made: the template asks the text of 'x' for .a, which text does not have"
    )


def test_what_a_mapping_does_not_have_is_empty() -> None:
    assert text("{{ x.a }}|{{ x.b }}", {"x": {"a": "1"}}) == "1|"


def test_default_prompts() -> None:
    text, label = ["text"], ["label"]
    assert default_parts(None, text, ["reply"], ["reply"]) == (Field("text"),)
    assert default_parts(None, text, label, []) == (Field("text"), "\nlabel:")
    assert default_parts("Do.", text, label, label) == ("Do.\n\n", "text: ", Field("text"), "\nlabel:")
    assert default_parts(None, ["a", "b"], label, []) == ("a: ", Field("a"), "\n", "b: ", Field("b"), "\nlabel:")
    assert default_parts(None, text, ["x", "y"], []) == (Field("text"), "\n")
    assert default_parts(None, text, [], []) == (Field("text"),)


def test_columns_are_those_that_the_templates_read(stories_tokenizer: Any) -> None:
    prompt = {"template": "{{ b }}{{ a | upper }}{{ b }}", "system": "{{ c }}"}
    assert make_encoder(stories_tokenizer, prompt).columns == ["b", "a", "c"]
    assert make_encoder(stories_tokenizer, inputs=["x", "y"]).columns == ["x", "y"]
    assert make_encoder(stories_tokenizer, {"template": "{{ __sample__ }}!"}, inputs=["x"]).columns == ["x"]
