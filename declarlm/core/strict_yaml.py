"""YAML that means what it looks like, with the line of every value.

The scalars are those of YAML 1.2's core schema: ``1e-4`` is a number, ``no`` and ``12:30:45`` are strings, ``null``
and ``true`` are what they say. Keys are strings. A key given twice, a tag, a second document, a cycle, and anything
too large or too deep is refused: PyYAML's own loader takes the last of two equal keys, runs tags, and lets a few
lines of aliases fill the memory.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from declarlm.core.document import Document
from declarlm.core.errors import ConfigError, Problem

MAX_CHARACTERS = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 40
MAX_DIGITS = 40
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTANTS = {
    **dict.fromkeys(["null", "Null", "NULL", "~", ""]),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_yaml(source: str | Path) -> Document:
    """Return the data of a YAML file, or of YAML text, and where each value stands in it.

    A key given twice does not stop the reading: it is among the ``problems`` of the document.

    Args:
        source: A path or text. A string of one line without ``: `` and braces is a path.

    Raises:
        ConfigError: If the file cannot be read, or is no YAML that is safe to read.
    """
    if isinstance(source, str) and ("\n" in source or ": " in source or "{" in source):
        return parse_yaml(source)
    try:
        with Path(source).open("rb") as file:
            text = file.read(4 * MAX_CHARACTERS).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(str(source), [Problem("", f"must be UTF-8, but byte {error.start} is not")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        remedy = _remedy(Path(source)) if isinstance(error, OSError) else ""
        raise ConfigError(str(source), [Problem("", f"cannot be read: {reason}{remedy}")]) from None
    return parse_yaml(text, str(source))


def _remedy(path: Path) -> str:
    """Return which config file is meant by a path at which there is none, as far as the folder tells."""
    if path.is_dir():
        return "; write the path of a config file in it"
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    configs = [file.name for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
    close = get_close_matches(path.name, configs, n=1, cutoff=0.7)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""


def parse_yaml(text: str, source: str = "config") -> Document:
    """Return the data of YAML text; ``source`` is what messages about it start with.

    Raises:
        ConfigError: If it is no YAML that is safe to read.
    """
    try:
        _check_events(text)
        root = yaml.compose(text, Loader=_LOADER)
        reader = _Reader()
        data = None if root is None else reader.read(root, "", ())
        return Document(data, source, reader.lines, problems=tuple(reader.problems), text=text)
    except _RefusedYamlError as refused:
        raise ConfigError(source, [refused.problem]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source, [_syntax_problem(error, text)]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(source, [Problem("", f"is not YAML: {str(error).splitlines()[0]}", 1)]) from None


def scalar(text: str) -> Any:
    """Return what a plain (unquoted) scalar means.

    Raises:
        ValueError: If it is an integer of absurd length.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"must have at most {MAX_DIGITS} digits, got {len(text)}")
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


class _RefusedYamlError(Exception):
    def __init__(self, message: str, line: int, path: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(path, message, line)


# What PyYAML says, and what a person can do about it.
_REMEDIES = {
    "mapping values are not allowed": "check the indentation here and on the line before; quote text that holds ': '",
    "did not find expected key": "check the indentation: keys of one mapping start in the same column",
    "could not find expected ':'": "a key needs a colon and a space after it",
    "did not find expected ',' or": "a bracket is not closed, or a comma is missing",
    "found unexpected end of stream": "a quote is not closed",
    "did not find expected '-' indicator": "check the indentation: items of one list start in the same column",
}


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark, context = error.problem_mark, error.context_mark
    if mark is None:
        return Problem("", f"is not YAML: {error.problem}", 1)
    remedy = next((f"; {remedy}" for said, remedy in _REMEDIES.items() if said in str(error.problem)), "")
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    found = "".join(lines[mark.line : mark.line + 1])[mark.column : mark.column + 1]
    if found == "\t":
        remedy = "; indent with spaces, not with tabs"
    elif "cannot start any token" in str(error.problem):
        remedy = f"; put text that starts with {found} in quotes"
    began = f", in what starts on line {context.line + 1}" if context and context.line != mark.line else ""
    return Problem("", f"is not YAML: {error.problem}, at column {mark.column + 1}{began}{remedy}", mark.line + 1)


def _check_events(text: str) -> None:
    """Refuse what is too much before anything recursive happens."""
    if len(text) > MAX_CHARACTERS:
        raise _RefusedYamlError(f"must be at most {MAX_CHARACTERS} characters long", 1)
    depth = documents = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if count > MAX_NODES:
            raise _RefusedYamlError(f"must have at most {MAX_NODES} values", line)
        if depth > MAX_DEPTH:
            raise _RefusedYamlError(f"must be nested at most {MAX_DEPTH} deep", line)
        if documents > 1:
            raise _RefusedYamlError("must be one document, a second one starts here", line)
        if tag := getattr(event, "tag", None):
            raise _RefusedYamlError(f"tags such as {tag} are not allowed", line)


class _Reader:
    """Turns nodes into plain data and notes the line of each path."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._count = 0

    def read(self, node: yaml.Node, path: str, parents: tuple[int, ...]) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._count += 1
        if self._count > MAX_NODES or len(parents) > MAX_DEPTH:
            raise _RefusedYamlError("aliases repeat too much", line, path)
        if id(node) in parents:
            raise _RefusedYamlError("an alias must not contain itself", line, path)
        parents = (*parents, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, parents)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, f"{path}[{index}]", parents) for index, item in enumerate(node.value)]
        try:
            return node.value if getattr(node, "style", None) else scalar(node.value)
        except ValueError as error:
            raise _RefusedYamlError(str(error), line, path) from None

    def _mapping(self, node: yaml.MappingNode, path: str, parents: tuple[int, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _RefusedYamlError("a key must be a string", line, path)
            inner = f"{path}.{key.value}" if path else key.value
            if key.value == "<<" and not key.style:
                merged = self._merged(self.read(value, inner, parents), line, inner)
            elif key.value in data:
                self.problems.append(Problem(inner, f"is given twice, first on line {self.lines[inner]}", line))
            else:
                self.lines[inner] = line
                data[key.value] = self.read(value, inner, parents)
        return {**merged, **data}

    def _merged(self, sources: Any, line: int, path: str) -> dict[str, Any]:
        """Return what a merge key brings in; of several mappings, the first is the strongest."""
        merged: dict[str, Any] = {}
        for source in sources if isinstance(sources, list) else [sources]:
            if not isinstance(source, dict):
                raise _RefusedYamlError("must be a mapping, or a list of mappings", line, path)
            merged = {**source, **merged}
        return merged
