"""Values set from outside of a config, by dotted path: ``--set adapter.r=8``, and what a search tries.

A path begins with a key of the config or with the name of a feature: ``intent.decoder.dropout`` is short for
``output_features.intent.decoder.dropout``. Where both exist, the key wins. An item of a list is addressed by its
name or by its number: ``input_features[0].column``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from declarlm.core.document import Document
from declarlm.core.errors import ConfigError, Problem, choose_from
from declarlm.core.fields import shown
from declarlm.core.strict_yaml import parse_yaml, scalar

FEATURES = ("input_features", "output_features")


def override(
    document: Document, changes: Mapping[str, Any] | Iterable[str] | str, keys: Collection[str] = ()
) -> Document:
    """Return the document with other values.

    What is wrong with a change becomes one of the document's problems. Whether a value is allowed is found out when
    the section is loaded; messages then start with the change: ``--set adapter.r=0: adapter.r: must be ...``.

    Args:
        document: A config before validation.
        changes: Values by path, or texts ``path=value`` with the value in YAML: ``adapter.r=8``,
            ``adapter={type: lora, r: 8}``. A text that starts with none of ``[ { " '`` is a plain value as a whole.
        keys: The keys that the config may have at its top.

    Raises:
        ConfigError: If ``changes`` are of another kind.
    """
    if not isinstance(document.data, dict):
        return document
    data, problems, overrides = deepcopy(document.data), list(document.problems), dict(document.overrides)
    for place, path, value in _split(changes):
        try:
            if isinstance(value, ValueError):
                raise value
            place_set = put(data, _steps(path, data, keys), value)
        except ValueError as error:
            place_set = path
            problems.append(Problem(path, str(error)))
        overrides[place_set] = place
    return replace(document, data=data, problems=tuple(problems), overrides=overrides)


def _split(changes: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield each change as how messages name it, its path, and its value or why that cannot be read.

    Raises:
        ConfigError: If the changes are of another kind.
    """
    if isinstance(changes, str):
        changes = [changes]
    items = list(changes) if isinstance(changes, Iterable) else [changes]
    if odd := [item for item in items if not isinstance(item, str)]:
        expected = "must be values by path, such as {'adapter.r': 8}, or texts, such as 'adapter.r=8'"
        raise ConfigError("overrides", [Problem("", f"{expected}, got {shown(odd[0])}")])
    if isinstance(changes, Mapping):
        yield from (("overrides", path, value) for path, value in changes.items())
        return
    for change in items:
        path, equals, text = change.partition("=")
        yield f"--set {change}", path.strip(), _value(text.strip()) if equals else ValueError("must be path=value")


def _value(text: str) -> Any:
    try:
        return parse_yaml(text).data if text.startswith(("[", "{", '"', "'")) else scalar(text)
    except ConfigError as error:
        message = error.problems[0].message.split(", at column")[0]
        return ValueError(f"{message}; put text that starts like this in double quotes")
    except ValueError as error:
        return error


def _steps(path: str, data: dict[str, Any], keys: Collection[str]) -> list[str | int]:
    """Return the keys and numbers that lead from the top of the config to a value.

    Raises:
        ValueError: If the path begins with neither a key nor a feature's name.
    """
    steps = [int(number) if number else key for key, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]
    if not steps:
        raise ValueError("must name a value")
    if steps[0] in keys or steps[0] in data:
        return steps
    names = [(side, index, name) for side in FEATURES for index, name in enumerate(_names(data.get(side)))]
    found: list[list[str | int]] = [[side, index] for side, index, name in names if name == steps[0]]
    if len(found) > 1:
        raise ValueError(f"{steps[0]!r} is the name of several features; write {FEATURES[1]}.{path}")
    if found:
        return [*found[0], *steps[1:]]
    if keys:
        options = {*keys, *(name for _, _, name in names)} - {""}
        raise ValueError(f"no section or feature is named {choose_from(steps[0], options)}")
    return steps


def put(data: Any, steps: list[str | int], value: Any) -> str:
    """Set the value at the end of the steps and return its path, making mappings on the way.

    Raises:
        ValueError: If a step leads nowhere.
    """
    walked: list[str | int] = []
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(data, list):
            step = _number(data, step, written(walked))
        elif not isinstance(data, dict):
            raise ValueError(f"{written(walked)} is {data!r}, which has no parts")
        elif isinstance(step, int):
            raise ValueError(f"{written(walked)} is a mapping; write a key instead of [{step}]")
        walked.append(step)
        if following is None:
            data[step] = value
        else:
            inner = data[step] if isinstance(step, int) else data.get(step)
            # A plugin's name is short for a mapping with only its type.
            data[step] = {} if inner is None else {"type": inner} if isinstance(inner, str) else inner
            data = data[step]
    return written(walked)


def written(steps: Sequence[str | int]) -> str:
    """Return a path as messages write it.

    >>> written(["input_features", 0, "encoder"])
    'input_features[0].encoder'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _number(items: list[Any], step: str | int, path: str) -> int:
    """Return the number of the item that has this number or name."""
    if isinstance(step, int):
        if step < len(items):
            return step
        raise ValueError(f"{path} has {len(items)} items, the first is {path}[0]")
    names = _names(items)
    if step not in names:
        raise ValueError(f"nothing in {path} is named {choose_from(step, set(names) - {''})}")
    return names.index(step)


def _names(items: Any) -> list[str]:
    """Return the name of every item of a list."""
    named = items if isinstance(items, list) else []
    return [str(item.get("name", "")) if isinstance(item, dict) else "" for item in named]
