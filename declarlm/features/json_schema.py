"""JSON Schemas: what is wrong with one, where it is kept, and the order of keys that it states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from declarlm.core import ConfigError, Problem
from declarlm.core.fields import shown

_MAX_REFERENCES = 20  # from one to the next


def schema_problems(schema: Any, path: str) -> Iterator[Problem]:
    """Yield what is wrong with a JSON Schema."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        place = "".join(f".{key}" if isinstance(key, str) else f"[{key}]" for key in error.absolute_path)
        yield Problem(f"{path}{place}", f"is no JSON Schema: {error.message[:200]}")
    for found in _references(schema):
        if not found.startswith("#"):
            yield Problem(path, f"names {found!r}, and nothing is fetched; write it under $defs, as '#/$defs/NAME'")


def _references(schema: Any) -> Iterator[str]:
    """Yield every ``$ref`` in a schema."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for inner in schema.values():
            yield from _references(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


def read_schema(path: str, where: str) -> dict[str, Any]:
    """Return the schema in a file, which the key ``where`` of the config names.

    Raises:
        ConfigError: If there is none.
    """
    try:
        schema = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("config", [Problem(where, f"{path!r} cannot be read: {error.strerror}")]) from None
    except ValueError as error:
        raise ConfigError("config", [Problem(where, f"{path!r} is no JSON: {error}")]) from None
    problems = list(schema_problems(schema, where))
    if not isinstance(schema, dict):
        problems = [Problem(where, f"{path!r} must hold a mapping, got {shown(schema)}")]
    if problems:
        raise ConfigError("config", problems)
    return dict(schema)


def in_order(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value whose keys stand in the order of the properties of its schema, at any depth; all others follow."""
    return _ordered(value, schema, schema)


def _ordered(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    schema = schema if isinstance(schema, Mapping) else {}
    for _ in range(_MAX_REFERENCES):
        if "$ref" not in schema:
            break
        schema = _referenced(root, str(schema["$ref"]))
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        keys = [*(key for key in known if key in value), *(key for key in value if key not in known)]
        return {key: _ordered(value[key], known.get(key), root) for key in keys}
    return [_ordered(part, schema.get("items"), root) for part in value] if isinstance(value, list) else value


def _referenced(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    """Return the part of a schema that a reference such as ``#/$defs/size`` names, nothing if it has none."""
    found: Any = root
    for key in reference.removeprefix("#").split("/")[1:]:
        found = found.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
