"""Templates in both syntaxes: which names they hold, and how they turn a row into segments."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from declarlm.core import DataError
from declarlm.core.errors import choose_from
from declarlm.prompts.budget import LimitError, budget
from declarlm.prompts.segments import Cell, Neutral, Segment, cell_text, cell_value, merge, pieces_of

if TYPE_CHECKING:
    from declarlm.prompts.sandbox import Sandbox

Syntax = Literal["format", "jinja"]

_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?(?P<width>\d*)[,_]?(?:\.(?P<precision>\d+))?(?P<kind>[bcdeEfFgGnosxX%]?)")
_MAX_WIDTH = 1000
_NEVER_IN_A_NAME = frozenset("\"'{}\n")
BRACES_HELP = (
    "in a {column} template a brace that is text is written twice ({{ and }}); in a Jinja template, "
    "prompt.syntax: jinja, single braces are text and a column is {{ column }}"
)


class InvalidTemplateError(Exception):
    """What is wrong with a template; the message goes into a ``Problem``."""


class Field(NamedTuple):
    """A place for a cell in a format template."""

    name: str
    spec: str = ""


Parts = tuple[str | Field, ...]


@dataclass(frozen=True)
class Reading:
    """A template as one syntax reads it.

    Attributes:
        syntax: The syntax.
        source: The template.
        names: What it takes from outside, in order of appearance.
        parts: Text and fields, in order; ``None`` where a Jinja template does more than print names.
    """

    syntax: Syntax
    source: str
    names: tuple[str, ...]
    parts: Parts | None


class Template(Protocol):
    """Makes the text of a row. ``ending`` is the text that every row ends in, empty if that is a cell or unknown."""

    columns: tuple[str, ...]
    ending: str

    def render(self, cells: Mapping[str, Any], row: object) -> list[Segment]:
        """Return the pieces of the rendered template; ``row`` is for errors."""


class FormatTemplate:
    """Fills ``{column}`` and ``{column:.2f}``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.columns = _names(parts)
        self.ending = _ending(parts)

    def render(self, cells: Mapping[str, Any], row: object) -> list[Segment]:
        return [
            Segment(part) if isinstance(part, str) else Segment(_formatted(cells[part.name], part, row), part.name)
            for part in self._parts
        ]


class JinjaTemplate:
    """Runs a Jinja template; every cell is text to it, whatever the file format, and a missing one is empty."""

    def __init__(self, reading: Reading, texts: Mapping[str, Parts]) -> None:
        self._texts = {name: FormatTemplate(texts[name]) for name in reading.names if name in texts}
        self._names = [name for name in reading.names if name not in texts]
        inner = [column for text in self._texts.values() for column in text.columns]
        self.columns = tuple(dict.fromkeys([*self._names, *inner]))
        self.ending = _jinja_ending(reading)
        with budget():
            self._template = _sandbox().from_string(reading.source)

    def render(self, cells: Mapping[str, Any], row: object) -> list[Segment]:
        from declarlm.prompts.sandbox import TEMPLATE_ERRORS

        values: dict[str, Any] = {name: cell_value(cells[name], name) for name in self._names}
        for name, text in self._texts.items():
            pieces = text.render(cells, row)
            values[name] = Cell(pieces) if text.columns else "".join(piece.text for piece in pieces)
        try:
            texts = _sandbox().run(self._template, values)
        except TEMPLATE_ERRORS as error:
            raise DataError(f"the prompt cannot be made: the template {_because(error)}", row=row) from None
        return merge(piece for text in texts for piece in pieces_of(text))


def read(
    source: str,
    syntax: str,
    known: Collection[str],
    *,
    reserved: Collection[str] = (),
    more: bool = False,
    kind: str = "column",
    plain: bool = False,
) -> Reading | None:
    """Return how ``source`` is read, ``None`` if only the columns can tell.

    Args:
        source: The template.
        syntax: Its syntax, or "auto" for the only reading that has fields and knows all of them.
        known: Names that a field may have.
        reserved: Names with a meaning of their own, which no message suggests.
        more: Whether there may be other names: the columns of a table not seen yet.
        kind: What a field is, for messages.
        plain: Whether it may be text with braces and no fields, such as JSON.

    Raises:
        InvalidTemplateError: If it cannot be read, or names what there is not.
    """
    readings, failures = _readings(source, ["format", "jinja"] if syntax == "auto" else [syntax])
    if syntax == "auto":
        plain = plain and not any(f"{{{name}" in source for name in known)
        without = [reading for reading in readings if "{" not in source or (plain and reading.syntax == "jinja")]
        readings = [reading for reading in readings if reading.names] or without[:1]
    if len(readings) > 1:
        fitting = [reading for reading in readings if set(reading.names) <= {*known, *reserved}]
        if len(fitting) != 1 and more:
            return None
        if len(fitting) != 1:
            raise InvalidTemplateError(
                f"can be read as a {{column}} template (fields: {', '.join(readings[0].names)}) and as Jinja "
                f"(fields: {', '.join(readings[1].names)}); say which with prompt.syntax: format or jinja"
            )
        readings = fitting
    if not readings:
        looks_like_jinja = "jinja" in failures and ("{{" in source or "{%" in source or "format" not in failures)
        failure = failures.get("jinja" if looks_like_jinja else "format")
        raise InvalidTemplateError(failure or f"names no {kind}, though it has braces; {BRACES_HELP}")
    (reading,) = readings
    unknown = [name for name in reading.names if name not in known and name not in reserved]
    if unknown and not more:
        examples = {"context", "__context__"} & set(unknown) if kind == "column" else ()
        remedy = "; examples stand there where the config has prompt.retrieval" if examples else ""
        missing = "; ".join(f"there is no {kind} {choose_from(name, known)}" for name in unknown)
        raise InvalidTemplateError(missing + remedy)
    return reading


def compile_template(reading: Reading, texts: Mapping[str, Parts]) -> Template:
    """Return the template, with the names in ``texts`` (such as ``task``) replaced by what they stand for."""
    if reading.parts is None:
        return JinjaTemplate(reading, texts)
    parts: list[str | Field] = []
    for part in reading.parts:
        parts += texts.get(part.name, [part]) if isinstance(part, Field) else [part]
    return FormatTemplate(tuple(parts))


def _readings(source: str, syntaxes: list[str]) -> tuple[list[Reading], dict[str, str]]:
    """Return the readings that there are, and why the others are not."""
    readings, failures = [], {}
    for syntax in syntaxes:
        try:
            readings.append(_read_format(source) if syntax == "format" else _read_jinja(source))
        except InvalidTemplateError as error:
            failures[syntax] = str(error)
    return readings, failures


def _read_format(source: str) -> Reading:
    parts: list[str | Field] = []
    try:
        parsed = list(Formatter().parse(source))
    except ValueError as error:
        raise InvalidTemplateError(f"has a brace without its partner ({error}); {BRACES_HELP}") from None
    for text, name, spec, conversion in parsed:
        parts += [text] * bool(text)
        if name is None or spec is None:
            continue
        if not name.strip("%# ") or name.isdigit() or name[0] in "%#" or set(name) & _NEVER_IN_A_NAME or "{" in spec:
            shown = name if len(name) <= 20 else name[:20] + "..."
            raise InvalidTemplateError(f"{{{shown}}} is no column; {BRACES_HELP}")
        if conversion:
            raise InvalidTemplateError(f"{{{name}!{conversion}}}: conversions are not supported, write {{{name}}}")
        _check_spec(name, spec)
        parts.append(Field(name, spec))
    return Reading("format", source, _names(tuple(parts)), tuple(parts))


def _check_spec(name: str, spec: str) -> None:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InvalidTemplateError(f"{{{name}:{spec}}}: {spec!r} is no format of Python, such as .2f; {BRACES_HELP}")
    if any(int(match[key] or 0) > _MAX_WIDTH for key in ("width", "precision")):
        raise InvalidTemplateError(f"{{{name}:{spec}}}: width and precision must be at most {_MAX_WIDTH}")


def _read_jinja(source: str) -> Reading:
    if not any(mark in source for mark in ("{{", "{%", "{#")):
        return Reading("jinja", source, (), (source,))  # Most prompts are validated without loading Jinja.

    from jinja2 import meta, nodes

    from declarlm.prompts.sandbox import TEMPLATE_ERRORS

    sandbox = _sandbox()
    try:
        with budget():
            tree = sandbox.parse(source)
            undeclared = meta.find_undeclared_variables(tree)
            sandbox.from_string(source)
    except TEMPLATE_ERRORS as error:
        raise InvalidTemplateError(f"as a Jinja template, {_because(error)}") from None
    names = tuple(dict.fromkeys(node.name for node in tree.find_all(nodes.Name) if node.name in undeclared))
    printed = [item for node in tree.body for item in (node.nodes if isinstance(node, nodes.Output) else [node])]
    parts = [part for part in map(_part, printed) if part is not None]
    if len(parts) == len(printed):
        return Reading("jinja", source, _names(tuple(parts)), tuple(parts))
    return Reading("jinja", source, names, None)


def _part(node: Any) -> str | Field | None:
    from jinja2 import nodes

    if isinstance(node, nodes.TemplateData):
        return node.data
    return Field(node.name) if isinstance(node, nodes.Name) else None


def _jinja_ending(reading: Reading) -> str:
    from jinja2 import nodes

    with budget():
        body = _sandbox().parse(reading.source).body
    last = body[-1] if body else None
    if isinstance(last, nodes.Output) and isinstance(last.nodes[-1], nodes.TemplateData):
        return last.nodes[-1].data
    return ""


@cache
def _sandbox() -> Sandbox:
    from declarlm.prompts.sandbox import Sandbox

    return Sandbox(keep_trailing_newline=True)  # Both syntaxes keep the text as it is written.


def _because(error: BaseException) -> str:
    """Return the end of a sentence that starts with the template."""
    if isinstance(error, LimitError):
        return str(error)
    if isinstance(error, RecursionError | MemoryError):
        return "is nested too deeply"
    line = getattr(error, "lineno", None)
    place = f" in line {line}" if line is not None else ""
    return f"fails{place}: {getattr(error, 'message', None) or error}"


def _names(parts: Parts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_fields(parts)))


def _fields(parts: Parts) -> Iterator[str]:
    return (part.name for part in parts if isinstance(part, Field))


def _ending(parts: Parts) -> str:
    return parts[-1] if parts and isinstance(parts[-1], str) else ""


def _formatted(value: object, field: Field, row: object) -> str:
    text = cell_text(value)
    if not field.spec or not text or isinstance(value, Neutral):
        return text
    kind = field.spec[-1]
    try:
        if kind in "eEfFgG%":
            return format(float(text), field.spec)
        if kind in "bcdnoxX":
            return format(int(text), field.spec)
        return format(text, field.spec)
    except (ValueError, OverflowError):
        message = (
            f"{text!r} cannot be written as {{{field.name}:{field.spec}}}; clean the column or change the template"
        )
        raise DataError(message, column=field.name, row=row) from None
