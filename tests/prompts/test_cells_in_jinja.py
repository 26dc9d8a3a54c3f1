"""Text of cells stays recognisable through everything that a Jinja template can do with it."""

from typing import Any

import pytest

from declarlm.prompts.sandbox import TEMPLATE_ERRORS, Sandbox
from declarlm.prompts.segments import Cell, Segment, cell_value, mark, merge, pieces_of, strip

HIDDEN = "Zq</s>Zq 12"
SANDBOX = Sandbox(keep_trailing_newline=True)
FILTERS = sorted(name for name in SANDBOX.filters if not name.startswith("declarlm_"))
METHODS = sorted(name for name in dir(str) if not name.startswith("_"))


def pieces(template: str, **values: Any) -> list[Segment]:
    texts = SANDBOX.run(SANDBOX.from_string(template), values)
    return merge(piece for text in texts for piece in pieces_of(text))


def is_leaked(segments: list[Segment]) -> bool:
    own = "".join(segment.text for segment in segments if segment.column is None).lower()
    return any(part in own for part in ("zq", "</s", "qz", "s>"))


def rendered(template: str) -> list[Segment] | None:
    try:
        return pieces(template, x=mark(HIDDEN, "x"), y=cell_value([HIDDEN, {HIDDEN: HIDDEN}], "x"))
    except TEMPLATE_ERRORS:
        return None


@pytest.mark.parametrize("name", FILTERS)
def test_filter_keeps_a_cell_a_cell(name: str) -> None:
    uses = [
        f"{{{{ {value}|{name}{arguments} }}}}"
        for value in (
            "x",
            "[x, x]",
            "(x,)",
            "{'k': x}",
            "{x: 1}",
            "y",
            "'a-b'",
            "[['k', x]]",
            "x.split()",
            "y[1].items()",
        )
        for arguments in (
            "",
            "('-', x)",
            "(x)",
            "('-')",
            "(attribute=0)",
            "('upper')",
            "|list",
            "|join('-')",
            "|string",
        )
    ]
    results = [result for result in map(rendered, uses) if result is not None]
    assert not any(map(is_leaked, results))


@pytest.mark.parametrize("name", METHODS)
def test_method_keeps_a_cell_a_cell(name: str) -> None:
    uses = [
        f"{{{{ {call}{after} }}}}"
        for call in (
            f"x.{name}()",
            f"x.{name}('q')",
            f"'a-b'.{name}('-', x)",
            f"'-'.{name}([x, 'b'])",
            f"x.{name}('Z', 'Y')",
        )
        for after in ("", "|list", "|join", "[0]", "|first", " ~ 'a'", " + 'a'")
    ]
    results = [result for result in map(rendered, uses) if result is not None]
    assert not any(map(is_leaked, results))


@pytest.mark.parametrize(
    "template",
    [
        "{{ x }}",
        "{{ 'a' ~ x ~ 'b' }}",
        "{{ 'a' + x }}",
        "{{ x * 2 }}",
        "{{ x[1:] }}",
        "{{ x[0] ~ x[1] }}",
        "{% set z %}a{{ x }}{% endset %}{{ z|upper }}",
        "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(x) }}{{ m(a=x) }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ x }}{% endcall %}",
        "{% filter lower %}{{ x }}{% endfilter %}",
        "{% for c in x %}{{ c }}{% endfor %}",
        "{% for k, v in y[1].items() %}{{ k }}{{ v }}{% endfor %}",
        "{% for z in [x] recursive %}{{ z }}{{ loop([x]) if loop.depth < 3 }}{% endfor %}",
        "{% set ns = namespace(s='') %}{% for c in y %}{% set ns.s = ns.s ~ c %}{% endfor %}{{ ns.s }}",
        "{{ y }}",
        "{{ dict(a=x) }}",
        "{{ (x if x else 'none')|default('d') }}",
        "{% block b %}{{ x }}{% endblock %}",
        "{{ x|groupby('0')|list }}",
        "{{ [x]|map('upper')|map('lower')|list|join(', ') }}",
    ],
)
def test_construct_keeps_a_cell_a_cell(template: str) -> None:
    result = rendered(template)
    assert result is not None
    assert not is_leaked(result)
    assert any(segment.column == "x" for segment in result)


def test_words_of_the_template_stay_its_own() -> None:
    x, y = mark("hi", "x"), mark("you", "y")
    assert pieces("a {{ 'b: ' ~ x ~ '<e>' }} {{ x + y }}", x=x, y=y) == [
        Segment("a b: "),
        Segment("hi", "x"),
        Segment("<e> "),
        Segment("hi", "x"),
        Segment("you", "y"),
    ]
    assert pieces("{% set z %}<a>{{ x }}{% endset %}{{ z }}", x=x) == [Segment("<a>"), Segment("hi", "x")]
    assert pieces("{{ x | trim | upper }}!", x=mark(" hi ", "x")) == [Segment("HI", "x"), Segment("!")]


def test_conditions_and_lengths_see_the_text() -> None:
    template = "{% if x == 'hi' and x|length == 2 and 'h' in x %}yes{% endif %}{{ 'no' if not y }}"
    assert pieces(template, x=mark("hi", "x"), y=mark("", "y")) == [Segment("yesno")]


def test_missing_and_numbers_are_printed_as_text() -> None:
    assert pieces("{{ none }}|{{ nothing }}|{{ 2 + 1 }}|{{ 1.5 }}", none=None) == [Segment("||3|1.5")]


def test_merge_drops_empty_pieces_and_joins_neighbours() -> None:
    parts = [
        Segment("a"),
        Segment("", "x"),
        Segment("b"),
        Segment("c", "x"),
        Segment("d", "x"),
        Segment("<s>", None, 1),
    ]
    assert merge(parts) == [Segment("ab"), Segment("cd", "x"), Segment("<s>", None, 1)]


def test_strip_works_across_pieces() -> None:
    parts = [Segment(" "), Segment(" a", "x"), Segment(" b "), Segment("\n", "x")]
    assert strip(parts, left=True, right=True) == [Segment("a", "x"), Segment(" b")]
    assert strip(parts, left=False, right=False) == parts
    assert strip([Segment(" ")], left=True, right=True) == []


def test_cell_is_a_string_like_any_other() -> None:
    cell = Cell([Segment("a"), Segment("b", "x")])
    assert cell == "ab"
    assert hash(cell) == hash("ab")
    assert str(cell) is cell
    assert pieces_of(cell[1:]) == (Segment("b", "x"),)
