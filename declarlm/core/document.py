"""A config as somebody wrote it: plain data, and where each value of it stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from declarlm.core.errors import Problem


@dataclass(frozen=True)
class Document:
    """Raw config data on its way to a section, with what is needed to point at the places in it.

    Each step returns a new document, and in the end all that is wrong is reported together::

        document = override(upgrade(read_yaml("intents.yaml")), ["adapter.r=0"])
        ModelConfig.load(document.data, source=document, problems=document.problems)

    Attributes:
        data: Dicts, lists and scalars.
        source: File name or other origin, the beginning of every message.
        lines: Line, from 1, on which each path (``adapter.r``, ``input_features[0].name``) starts.
        problems: What is wrong so far, such as a key given twice.
        overrides: What set a path from outside of the file, by path: ``--set adapter.r=0``.
        moved: Where the value that is now at a path was written: ``trainer.epochs`` at ``training.epochs``.
        notes: What was understood though it is spelled in an old or foreign way, for a person to read.
        text: The YAML as it was written, ``None`` for plain data.
    """

    data: Any
    source: str = "config"
    lines: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    text: str | None = None

    def located(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return the problems with their lines, in the order of the file."""
        found = [replace(problem, line=problem.line or self._line(problem.path)) for problem in problems]
        return sorted(found, key=lambda problem: problem.line or 0)

    def place(self, problem: Problem) -> str:
        """Return what the message of a problem starts with: ``intents.yaml:9`` or ``--set adapter.r=0``."""
        for path in _up(problem.path):
            if path in self.overrides:
                return self.overrides[path]
        return f"{self.source}:{problem.line}" if problem.line else self.source

    def _line(self, path: str) -> int | None:
        """Return the line of a path, or of its nearest parent in the file."""
        moved = next((parent for parent in _up(path) if parent in self.moved), None)
        written = path if moved is None else self.moved[moved] + path[len(moved) :]
        return next((self.lines[parent] for parent in _up(written) if parent in self.lines), self.lines.get(""))


def _up(path: str) -> list[str]:
    """Return a path and its parents, nearest first."""
    ends = [index for index, character in enumerate(path) if character in ".["]
    return [path, *(path[:end] for end in reversed(ends))]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield what differs between two JSON mappings, by dotted path."""
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} was {before!r}, is {after!r}"
