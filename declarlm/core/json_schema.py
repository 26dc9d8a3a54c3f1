"""JSON Schema of a section, for editors and for tools that never import Declarlm."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from inspect import getdoc
from typing import Any

from marshmallow import fields, missing

from declarlm.core.fields import Choice, Either, Entries, Items, OneOf, Plain, Sub
from declarlm.core.section import Section

DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that yaml-language-server reads well
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_KEYWORDS = {"min": "minimum", "max": "maximum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"}


def json_schema(section: type[Section], untyped: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema (draft-07) that accepts what ``section.load`` accepts.

    Two differences are left: rules between parameters (``Section.check``) are not expressed, and JSON itself does
    not tell 4.0 from 4.

    Args:
        section: The root.
        untyped: Parameters whose plugin is found out before loading if they do not name it: a mapping without
            ``type`` may then hold what any one of the plugins takes.
    """
    definitions = _Definitions(untyped)
    root = _object(section, definitions)
    return {"$schema": DRAFT, **root, "definitions": dict(sorted(definitions.items()))}


def default_of(field: fields.Field[Any]) -> Any:
    """Return the default of a parameter as a config writes it."""
    if isinstance(field, Choice) and field.usual:
        return field.usual
    default = field.load_default() if callable(field.load_default) else field.load_default
    return field._serialize(default, None, None)


class _Definitions(dict[str, Any]):
    """Schemas of sections by name, and which parameters need not name their plugin."""

    def __init__(self, untyped: Collection[str]) -> None:
        super().__init__()
        self.untyped = untyped


def _object(
    section: type[Section], definitions: _Definitions, named: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the schema of a section; a plugin's own name is allowed under the key that ``named`` gives."""
    declared = section.schema().fields
    properties: dict[str, Any] = {**(named or {})}
    properties |= {key: _parameter(key, field, definitions) for key, field in declared.items()}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [key for key, field in declared.items() if field.required]
    return {**schema, "required": required} if required else schema


def _parameter(key: str, field: fields.Field[Any], definitions: _Definitions) -> dict[str, Any]:
    schema = _value(field, definitions, untyped=key in definitions.untyped)
    if "$ref" in schema:
        schema = {"allOf": [schema]}  # draft-07 ignores what stands beside a $ref
    if doc := field.metadata.get("doc"):
        schema["description"] = doc
    if field.load_default is not missing:
        schema["default"] = default_of(field)
    return schema


def _value(field: fields.Field[Any], definitions: _Definitions, *, untyped: bool = False) -> dict[str, Any]:
    schema = _present(field, definitions, untyped=untyped)
    if not field.allow_none or not schema:
        return schema
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _present(field: fields.Field[Any], definitions: _Definitions, *, untyped: bool) -> dict[str, Any]:
    """Return the schema of a field's values other than null."""
    match field:
        case Choice():
            return _choice(field, definitions, untyped=untyped)
        case Either():
            return {"anyOf": [_value(option, definitions) for option in field.options]}
        case Sub():
            return _reference(f"{field.section.__module__}.{field.section.__qualname__}", field.section, definitions)
        case Items():
            return {"type": "array", "items": _value(field.item, definitions)}
        case Entries():
            return {"type": "object", "additionalProperties": _value(field.item, definitions)}
        case OneOf():
            return {"enum": list(field.options)}
        case Plain():
            pattern = {"pattern": f"^(?:{field.pattern})$"} if field.pattern else {}
            limits = {_KEYWORDS[key]: limit for key, limit in field.limits.items()}
            return {"type": _TYPES[field.kind], **limits, **pattern}
    return {}


def _choice(field: Choice, definitions: _Definitions, *, untyped: bool) -> dict[str, Any]:
    """Return a schema that looks at the plugin's name first, so that an editor complains about the one wrong key."""
    plugins: Mapping[str, Any] = {name: field.registry[name] for name in field.registry}
    kind, key = field.registry.kind.replace(" ", "_"), field.registry.key
    references = {
        name: _reference(f"{kind}.{name}", plugin.Config, definitions, {key: {"const": name}})
        for name, plugin in plugins.items()
    }
    complete = [
        name for name in plugins if not any(field.required for field in plugins[name].Config.schema().fields.values())
    ]
    branches = [
        {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": reference}
        for name, reference in references.items()
    ]
    mapping: dict[str, Any] = {"type": "object", "properties": {key: {"enum": list(plugins)}}, "allOf": branches}
    if field.usual:
        branches.append({"if": {"not": {"required": [key]}}, "then": references[field.usual]})
    elif untyped:
        branches.append({"if": {"not": {"required": [key]}}, "then": {"anyOf": list(references.values())}})
    else:
        mapping["required"] = [key]
    return {"anyOf": [{"enum": complete}, mapping]} if complete else mapping


def _reference(
    name: str, section: type[Section], definitions: _Definitions, named: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    name = name.removeprefix("declarlm.")
    if name not in definitions:
        definitions[name] = {}  # reserved first: a plugin may choose among its own kind
        documented = section.plugin if named else section
        summary = (getdoc(documented) or "").split("\n")[0]
        definitions[name] = {"description": summary, **_object(section, definitions, named)}
    return {"$ref": f"#/definitions/{name}"}
