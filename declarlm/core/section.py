"""Config sections: typed, immutable objects that marshmallow validates.

A section is declared once, as annotated class attributes, and everything else is derived from it::

    class Config(Section):
        size: int = param("Length of the hidden vector.", default=64, min=1)

``Config(size=8).size`` is an ``int`` to a type checker, ``Config.schema()`` is a marshmallow schema,
``Config.load({"size": 8})`` validates, and ``Config(size=8).dump()`` is the exact inverse of ``load``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeAlias,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from marshmallow import EXCLUDE, Schema, ValidationError
from marshmallow.exceptions import SCHEMA

from declarlm.core.errors import ConfigError, Problem, choose_from, flatten
from declarlm.core.fields import (
    UNREADABLE,
    Anything,
    Choice,
    Either,
    Entries,
    Items,
    OneOf,
    Plain,
    Strict,
    Sub,
    shown,
)
from declarlm.core.registry import Registry

if TYPE_CHECKING:
    from declarlm.core.document import Document

Rules: TypeAlias = "Iterable[Problem | Rules]"


def param(
    doc: str,
    *,
    default: Any = dataclasses.MISSING,
    registry: Registry[Any] | None = None,
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    above: float | None = None,
    below: float | None = None,
    pattern: str | None = None,
) -> Any:
    """Declare one parameter of a section; its annotation says which values it takes.

    Args:
        doc: One sentence for the reference page, with the unit if there is one.
        default: Value when the config is silent, or a plugin's name if there is a ``registry``. Without it
            the parameter is required.
        registry: Plugins to choose from; the annotation is then their base ``Config``.
        min: Smallest number allowed, also of each number in a list or mapping.
        max: Largest number allowed.
        above: Bound that a number must exceed.
        below: Bound that a number must not reach.
        pattern: Regular expression that a string must match as a whole.
    """
    limits = {"min": min, "max": max, "above": above, "below": below}
    metadata = {
        "doc": doc,
        "registry": registry,
        "usual": default if registry is not None and isinstance(default, str) else None,
        "limits": {key: limit for key, limit in limits.items() if limit is not None},
        "pattern": pattern,
    }
    if registry is not None and isinstance(default, str):
        return dataclasses.field(default_factory=lambda: registry[default].Config(), metadata=metadata)
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(param,))
class Section:
    """Base of every config section; subclasses become frozen, keyword-only dataclasses.

    Attributes:
        type: Name of the plugin that the section configures, ``None`` for a plain section.
        plugin: Class that ``build`` makes, set when the plugin is registered.
    """

    type: ClassVar[str | None] = None
    plugin: ClassVar[Any] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)

    @classmethod
    @cache
    def schema(cls) -> SectionSchema:
        """Return the marshmallow schema of this section."""
        hints = get_type_hints(cls)
        declared = {field.name: _declared(cls, field, hints[field.name]) for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        schema: type[SectionSchema] = type(f"{cls.__qualname__}Schema", (SectionSchema,), {**declared, "section": cls})
        return schema()

    @classmethod
    def load(cls, data: Any, *, source: str | Document = "config", problems: Iterable[Problem] = ()) -> Self:
        """Validate ``data`` and fill in the defaults.

        Args:
            data: The section as plain data.
            source: What messages start with, or the document that knows where each value stands.
            problems: What was found wrong before, to be reported with the rest.

        Raises:
            ConfigError: With every problem found, each at its path.
        """
        found = list(problems)
        try:
            section: Self = cls.schema().load(data)
        except ValidationError as error:
            found += flatten(error.messages)
        if found:
            raise ConfigError(source, found)
        return section

    def dump(self) -> dict[str, Any]:
        """Return plain data that ``load`` turns back into an equal section."""
        data: dict[str, Any] = self.schema().dump(self)
        return data

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some parameters changed.

        Raises:
            ConfigError: If a change is not allowed.
        """
        return self.load(type(self)(**{**vars(self), **changes}).dump())

    def check(self) -> Rules:
        """Yield what is wrong with the section as a whole; override for rules between parameters.

        A rule that yields a generator lets it be looked at alone: where one rule meets a value that could not be
        read, the others go on.
        """
        return ()

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Make the plugin that this section configures, from what only the run knows, such as sizes."""
        return self.plugin(self, *args, **kwargs)


class SectionSchema(Schema):
    """Loads into a section; unknown keys and broken ``check`` rules are problems like any other."""

    section: ClassVar[type[Section]]

    class Meta:
        unknown = EXCLUDE  # not silently: load reports them, with a suggestion
        register = False

    def load(self, data: Any, **_: Any) -> Any:
        """Return the section.

        Rules are checked even if a parameter is wrong, with its default in its place, so that one reading finds
        every problem; what they say of a place that has a problem already is left out.

        Raises:
            ValidationError: With every message, and the section as far as it could be read in ``valid_data``.
        """
        if not isinstance(data, Mapping):
            raise ValidationError(
                f"must be a mapping of parameter names to values, got {shown(data)}; {self._written(data)}"
            )
        messages: dict[Any, Any] = {}
        try:
            values = super().load(data)
        except ValidationError as error:
            values, messages = error.valid_data, error.messages_dict
        messages |= {
            str(key): [f"no parameter is named {choose_from(key, self.fields, self._inside(key))}"]
            for key in data
            if key not in self.fields
        }
        unread = {name: UNREADABLE for name, field in self.fields.items() if field.required and name not in values}
        section = self.section(**values, **unread)
        if rules := _broken_rules(section, [problem.path for problem in flatten(messages)]):
            messages[SCHEMA] = rules
        if messages:
            raise ValidationError(messages, valid_data=section)  # type: ignore[arg-type]
        return section

    def _written(self, value: Any) -> str:
        """Return how to write a section of which only one value is there."""
        takers = [name for name, field in self.fields.items() if isinstance(field, OneOf) and _takes(field, value)]
        if len(takers) == 1:
            return f"write {{{takers[0]}: {value}}}"
        return f"its parameters: {', '.join(sorted(self.fields))}"

    def _inside(self, key: Any) -> str | None:
        """Return the path of a parameter that stands in a section of this one, if that is what ``key`` names."""
        for name, field in self.fields.items():
            section = {Sub: "section", Choice: "base"}.get(type(field))
            if section and key in getattr(field, section).schema().fields:
                return f"{name}.{key}"
        return None


def _takes(field: Strict, value: Any) -> bool:
    try:
        field.deserialize(value)
    except ValidationError:
        return False
    return True


def _broken_rules(section: Section, reported: list[str]) -> dict[str, list[str]]:
    """Return what ``check`` says of places that are not ``reported`` already and lie in none that is."""
    messages: dict[str, list[str]] = {}
    for problem in _found(section.check(), readable=not reported):
        if not any(problem.path == path or problem.path.startswith((f"{path}.", f"{path}[")) for path in reported):
            messages.setdefault(problem.path, []).append(problem.message)
    return messages


def _found(rules: Rules, *, readable: bool) -> Iterator[Problem]:
    """Yield the problems of all rules, one after another."""
    # Beside other problems, a rule may meet UNREADABLE, which no operation takes.
    with nullcontext() if readable else suppress(TypeError):
        for rule in rules:
            if isinstance(rule, Problem):
                yield rule
            else:
                yield from _found(rule, readable=readable)


def _declared(section: type, declared: dataclasses.Field[Any], hint: Any) -> Strict:
    """Return the marshmallow field of one parameter, with its default checked."""
    default = declared.default if declared.default is not dataclasses.MISSING else declared.default_factory
    common: dict[str, Any] = {
        "required": default is dataclasses.MISSING,
        "metadata": {"doc": declared.metadata.get("doc", "")},
        "error_messages": {"required": "is required"},
    }
    if not common["required"]:
        common["load_default"] = default
    field = _field(hint, declared.metadata, common)
    if not common["required"] and not callable(default) and not isinstance(default, Section):
        try:
            field.deserialize(default)
        except ValidationError as error:
            raise TypeError(f"default of {section.__qualname__}.{declared.name}: {error.messages}") from None
    return field


def _field(hint: Any, rules: Mapping[str, Any], common: Mapping[str, Any] | None = None) -> Strict:
    """Return the marshmallow field of a type, which is as strict as the type."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [member for member in members if member is not NoneType]
    common = {**(common or {}), "allow_none": NoneType in members or hint is Any}
    common["error_messages"] = {**common.get("error_messages", {}), "null": "must not be null"}
    if len(kinds) > 1:
        return Either([_field(kind, rules) for kind in kinds], **common)
    (kind,) = kinds
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return Anything(**common)
    if kind in (bool, int, float, str):
        return Plain(kind, rules.get("limits"), rules.get("pattern"), **common)
    if origin is Literal:
        return OneOf(args, **common)
    if origin is list:
        return Items(_field(args[0], rules), **common)
    if origin is dict and args[0] is str:
        return Entries(_field(args[1], rules), **common)
    if rules.get("registry") is not None:
        return Choice(rules["registry"], rules.get("usual"), kind, **common)
    if isinstance(kind, type) and issubclass(kind, Section):
        return Sub(kind, **common)
    raise TypeError(f"a parameter cannot be of type {kind}")
