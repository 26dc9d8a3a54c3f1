"""Reference pages: Markdown from docstrings and parameters."""

from __future__ import annotations

import json
from inspect import getdoc
from typing import Any

from marshmallow import fields

from declarlm.core.fields import Sub
from declarlm.core.json_schema import default_of
from declarlm.core.registry import Registry
from declarlm.core.section import Section


def reference(registry: Registry[Any]) -> str:
    """Return the Markdown of all plugins in ``registry``, one heading each."""
    return "\n\n".join(
        f"## {name}\n\n{getdoc(registry[name])}\n\n{parameters(registry[name].Config)}".rstrip() for name in registry
    )


def parameters(section: type[Section]) -> str:
    """Return a Markdown table of the parameters of a section and of the sections in it."""
    rows = _rows(section)
    return "\n".join(["| parameter | takes | default | |", "|---|---|---|---|", *rows]) if rows else "No parameters."


def _rows(section: type[Section], prefix: str = "") -> list[str]:
    rows = []
    for name, field in section.schema().fields.items():
        if not isinstance(field, Sub) or field.allow_none:
            cells = (f"`{prefix}{name}`", _takes(field), _default(field), field.metadata["doc"])
            rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        if isinstance(field, Sub):
            rows += _rows(field.section, f"{prefix}{name}.")
    return rows


def _takes(field: Any) -> str:
    return f"{field.expected} or null" if field.allow_none else str(field.expected)


def _default(field: fields.Field[Any]) -> str:
    if field.required:
        return "required"
    return f"`{json.dumps(default_of(field), ensure_ascii=False)}`"
