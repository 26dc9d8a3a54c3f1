"""YAML that means what it looks like."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from declarlm.core import ConfigError
from declarlm.core.strict_yaml import MAX_CHARACTERS, parse_yaml, read_yaml


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "a.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("+1", 1),
        ("007", 7),
        ("0o17", 15),
        ("0xff", 255),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("no", "no"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("0b11", "0b11"),
        ("=", "="),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  12\n", "12\n"),
        ("[1, a, {b: 2.5}]", [1, "a", {"b": 2.5}]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    assert parse_yaml(f"key: {text}").data == {"key": value}


def test_not_a_number_is_a_float():
    assert math.isnan(parse_yaml(".nan").data)


def test_keys_are_strings():
    assert parse_yaml("1: a\nno: b\nnull: c").data == {"1": "a", "no": "b", "null": "c"}


def test_every_value_has_its_line():
    text = "# a comment\ntrainer:\n  epochs: 3\nfeatures:\n  - name: a\n  - name: b\n    type: text\n"
    assert parse_yaml(text).lines == {
        "": 2,
        "trainer": 2,
        "trainer.epochs": 3,
        "features": 4,
        "features[0]": 5,
        "features[0].name": 5,
        "features[1]": 6,
        "features[1].name": 6,
        "features[1].type": 7,
    }


def test_anchors_and_merge_keys_work():
    data = parse_yaml("base: &base {a: 1, b: 2}\none: {<<: *base, b: 3}\ntwo: {<<: [{a: 0}, *base]}\nthree: *base").data
    assert (data["one"], data["two"], data["three"]) == ({"a": 1, "b": 3}, {"a": 0, "b": 2}, {"a": 1, "b": 2})


def test_key_given_twice_is_a_problem_that_lets_the_reading_go_on():
    document = parse_yaml("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "a.yaml")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert str(ConfigError(document, document.problems)) == (
        "a.yaml:4: b.c: is given twice, first on line 3\na.yaml:5: a: is given twice, first on line 1"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: b: c",
            "a.yaml:1: is not YAML: mapping values are not allowed in this context, at column 5; "
            "check the indentation here and on the line before; quote text that holds ': '",
        ),
        (
            "a:\n\tb: 1",
            "a.yaml:2: is not YAML: found character that cannot start any token, at column 1; "
            "indent with spaces, not with tabs",
        ),
        (
            "a: @b",
            "a.yaml:1: is not YAML: found character that cannot start any token, at column 4; "
            "put text that starts with @ in quotes",
        ),
        (
            "a: [1",
            "a.yaml:2: is not YAML: did not find expected ',' or ']', at column 1, in what starts on line 1; "
            "a bracket is not closed, or a comma is missing",
        ),
        ("a: *b", "a.yaml:1: is not YAML: found undefined alias, at column 4"),
        (
            "a: 1\nb: !!python/name:os.system x",
            "a.yaml:2: tags such as tag:yaml.org,2002:python/name:os.system are not allowed",
        ),
        ("a: ! 12", "a.yaml:1: tags such as ! are not allowed"),
        ("a: 1\n---\nb: 2", "a.yaml:2: must be one document, a second one starts here"),
        ("a: &a\n  b: *a", "a.yaml:1: a.b: an alias must not contain itself"),
        ("a: &a\n  <<: *a", "a.yaml:1: a.<<: an alias must not contain itself"),
        ("a:\n  <<: 3", "a.yaml:2: a.<<: must be a mapping, or a list of mappings"),
        ("a:\n  ? [1]\n  : 2", "a.yaml:2: a: a key must be a string"),
        ("a: 1\nb: " + "9" * 41, "a.yaml:2: b: must have at most 40 digits, got 41"),
        ("[" * 41 + "]" * 41, "a.yaml:1: must be nested at most 40 deep"),
        ("[" + "1, " * 100_001 + "]", "a.yaml:1: must have at most 100000 values"),
        ("#" * (MAX_CHARACTERS + 1), "a.yaml:1: must be at most 1000000 characters long"),
        ("a: \x00", "a.yaml:1: is not YAML: unacceptable character #x0000: control characters are not allowed"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_not_safe_to_read_is_refused_at_its_line(text, message):
    assert refused(text) == message


def test_alias_bomb_is_refused():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert refused("\n".join(rows)).endswith("aliases repeat too much")


def test_path_text_and_their_difference(tmp_path):
    path = tmp_path / "intents.yaml"
    path.write_text("﻿model_type: llm\n", encoding="utf-8")
    assert (
        read_yaml(path).data == read_yaml(str(path)).data == read_yaml("model_type: llm").data == {"model_type": "llm"}
    )
    assert (read_yaml(path).source, read_yaml("model_type: llm").source) == (str(path), "config")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.yaml", "No such file or directory"),
        ("", "Is a directory; write the path of a config file in it"),
        ("nul\0.yaml", "embedded null byte"),
    ],
)
def test_file_that_cannot_be_read_is_named(name, reason, tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: cannot be read: {reason}"


def test_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: Zoë".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: must be UTF-8, but byte 8 is not"):
        read_yaml(path)


_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp"), exclude_characters="\ufeff"), max_size=8
)
_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(_PLAIN)
def test_json_is_read_as_itself(value):
    assert parse_yaml(json.dumps(value, ensure_ascii=False)).data == value


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=60) | st.text("-:[]{}&*!?|>'\"%@` \n\t#,ab01.<", max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        document = parse_yaml(text)
    except ConfigError as error:
        lines = {problem.line for problem in error.problems}
    else:
        lines = set(document.lines.values())
    assert all(line is not None and 1 <= line <= text.count("\n") + text.count("\r") + 2 for line in lines)
