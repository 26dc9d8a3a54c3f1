"""Strict marshmallow fields: a value is what it says it is, or it is refused.

marshmallow's own take ``1`` for true, ``"3"`` for 3, a set for a list, and stop before the rules between
parameters. These do not; and a value that cannot be read still leaves something in its place for those rules: the
part of it that could be read, its default, or ``UNREADABLE``, which ends every rule that looks at it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from numbers import Integral, Real
from typing import Any, ClassVar

from marshmallow import ValidationError, fields
from marshmallow.exceptions import SCHEMA

from declarlm.core.errors import DeclarlmError, choose_from
from declarlm.core.registry import Registry

_COMPARISONS = {
    "min": (operator.ge, "at least"),
    "max": (operator.le, "at most"),
    "above": (operator.gt, "greater than"),
    "below": (operator.lt, "less than"),
}
_WORDS = {
    bool: ("true or false", "true or false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
}


_SAID = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class UnreadableError(TypeError):
    """A rule looked at a value that could not be read."""


class _Unreadable:
    """Stands for a value that could not be read: true, not null, and no more can be learned of it.

    What it does not refuse itself, such as adding or iterating, Python refuses with a ``TypeError`` too. Of a plugin
    whose name is wrong, the parameters that all plugins of its kind have can be learned.
    """

    def __init__(self, **known: Any) -> None:
        vars(self).update(known)

    def _refuse(self, *_: Any) -> Any:
        raise UnreadableError

    __getattr__ = __eq__ = __hash__ = __str__ = __repr__ = __format__ = _refuse


UNREADABLE = _Unreadable()


def shown(value: Any) -> str:
    """Return a value as a message shows it, in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _or(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


class Strict(fields.Field[Any]):
    """A field that says what it expects.

    Attributes:
        expected: How a message names a value it takes: 'an integer at least 1'.
        several: How a message names the values of a list of them: 'integers'.
    """

    expected: str
    several = "mappings"

    def refuse(self, value: Any) -> ValidationError:
        """Return the error of a value of the wrong kind."""
        return ValidationError(f"must be {self.expected}, got {shown(value)}{self._remedy(value)}")

    def _remedy(self, value: Any) -> str:
        """Return what to write in place of a text that is nearly right."""
        if not isinstance(value, str):
            return ""
        if self.allow_none and value.lower() == "none":
            return "; write null for none"
        if value.lower() in _SAID and "true or false" in self.expected:
            return f"; write {_SAID[value.lower()]}"
        number = re.search(r"\b(an integer|a number)\b", self.expected) and re.fullmatch(r"-?\d+(\.\d*)?", value)
        return "; remove the quotes" if number else ""

    def read(self, value: Any) -> Any:
        """Return the checked value; a subclass says how."""
        raise NotImplementedError

    def plain(self, value: Any) -> Any:
        """Return what ``read`` takes; a subclass says so if that differs from the value."""
        return deepcopy(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> Any:
        return self.read(value)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **_: Any) -> Any:
        return None if value is None else self.plain(value)


class Anything(Strict):
    """Any data that JSON can hold, null too."""

    expected, several = "plain data", "plain data"

    def read(self, value: Any) -> Any:
        if not self._is_plain(value):
            raise self.refuse(value)
        return deepcopy(value)

    def _is_plain(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return all(isinstance(key, str) and self._is_plain(inner) for key, inner in value.items())
        if isinstance(value, list):
            return all(map(self._is_plain, value))
        return value is None or isinstance(value, bool | int | float | str)


class Plain(Strict):
    """A bool, int, float or str, of exactly that kind; only a float also takes an integer.

    Attributes:
        kind: The Python type.
        limits: Bounds of a number: 'min' and 'max' (inclusive), 'above' and 'below' (exclusive).
        pattern: Regular expression that a string must match as a whole.
    """

    _KINDS: ClassVar[Mapping[type, Any]] = {bool: bool, int: Integral, float: Real, str: str}

    def __init__(
        self, kind: type, limits: Mapping[str, float] | None = None, pattern: str | None = None, **common: Any
    ) -> None:
        super().__init__(**common)
        self.kind, self.pattern = kind, pattern if kind is str else None
        self.limits = limits or {} if kind in (int, float) else {}
        bounds = " and".join(f" {_COMPARISONS[key][1]} {limit}" for key, limit in self.limits.items())
        singular, self.several = _WORDS[kind]
        self.expected = singular + bounds

    def read(self, value: Any) -> Any:
        if not isinstance(value, self._KINDS[self.kind]) or (isinstance(value, bool) and self.kind is not bool):
            raise self.refuse(value)
        try:
            number = self.kind(value)
        except OverflowError:
            number = math.inf
        if self.kind is float and not math.isfinite(number):
            raise ValidationError(f"must be finite, got {shown(value)}")
        value = number
        for key, limit in self.limits.items():
            holds, words = _COMPARISONS[key]
            if not holds(value, limit):
                raise ValidationError(f"must be {words} {limit}, got {value}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValidationError(f"must match {self.pattern}, got {shown(value)}")
        return value

    def plain(self, value: Any) -> Any:
        return self.kind(value)


class OneOf(Strict):
    """One of a few literals."""

    def __init__(self, options: tuple[Any, ...], **common: Any) -> None:
        super().__init__(**common)
        self.options = options
        self.expected = self.several = _or(map(repr, options))

    def read(self, value: Any) -> Any:
        for option in self.options:
            if type(option) is type(value) and option == value:
                return option
        options = [str(option) for option in self.options]
        if isinstance(value, str) and value not in options:
            raise ValidationError(f"cannot be {choose_from(value, options)}")
        quoted = "; remove the quotes" if isinstance(value, str) else ""
        raise ValidationError(f"cannot be {shown(value)}, choose from: {', '.join(options)}{quoted}")


class Items(Strict):
    """A list; every item that cannot be read is reported at its index."""

    several = "lists"

    def __init__(self, item: Strict, **common: Any) -> None:
        super().__init__(**common)
        self.item = item
        self.expected = f"a list of {item.several}"

    def read(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise self.refuse(value)
        values, messages = _read_all(self.item, enumerate(value))
        if messages:
            raise ValidationError(messages, valid_data=list(values.values()))
        return list(values.values())

    def plain(self, value: Any) -> Any:
        return [self.item._serialize(item, None, None) for item in value]


class Entries(Strict):
    """A mapping of free names to values; every value that cannot be read is reported at its name."""

    expected = "a mapping"

    def __init__(self, item: Strict, **common: Any) -> None:
        super().__init__(**common)
        self.item = item

    def read(self, value: Any) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise self.refuse(value)
        values, messages = _read_all(self.item, value.items())
        if messages:
            raise ValidationError(messages, valid_data=values)
        return values

    def plain(self, value: Any) -> Any:
        return {name: self.item._serialize(item, None, None) for name, item in value.items()}


class Sub(Strict):
    """A section inside of a section."""

    expected = "a mapping"

    def __init__(self, section: Any, **common: Any) -> None:
        super().__init__(**common)
        self.section = section

    def read(self, value: Any) -> Any:
        return self.section.schema().load(value)

    def plain(self, value: Any) -> Any:
        return value.dump()


class Choice(Strict):
    """A plugin's section, written as the plugin's name or as a mapping with the name under the registry's key.

    Attributes:
        registry: The plugins to choose from.
        usual: Name of the plugin that a mapping without that key means, if there is one.
        base: Section that the sections of all plugins extend.
    """

    def __init__(self, registry: Registry[Any], usual: str | None, base: Any, **common: Any) -> None:
        super().__init__(**common)
        self.registry, self.usual, self.base = registry, usual, base
        article = "an" if registry.kind[0] in "aeiou" else "a"
        self.expected = f"the name of {article} {registry.kind} or a mapping with it under {registry.key!r}"
        self.several = registry.plural

    def read(self, value: Any) -> Any:
        if not isinstance(value, str | Mapping):
            raise self.refuse(value)
        key = self.registry.key
        parameters = {key: value} if isinstance(value, str) else {key: self.usual, **value}
        name = parameters.pop(key)
        try:
            if name is None:
                raise DeclarlmError(f"is required, choose from: {', '.join(self.registry)}")
            plugin = self.registry[name]
        except DeclarlmError as error:
            place = SCHEMA if isinstance(value, str) else key
            null = self.allow_none and isinstance(name, str) and name.lower() == "none"
            message = f"must be null where there is to be none, got {name!r}" if null else str(error)
            raise ValidationError({place: [message]}, valid_data=self._known(parameters)) from None  # type: ignore[arg-type]
        return plugin.Config.schema().load(parameters)

    def _known(self, parameters: Mapping[str, Any]) -> _Unreadable:
        """Return what can be read without knowing the plugin."""
        known = {}
        for key, field in self.base.schema().fields.items():
            if isinstance(field, Plain) and (key in parameters or not field.required):
                with suppress(ValidationError):
                    known[key] = field.deserialize(parameters.get(key, field.load_default))
        return _Unreadable(**known)

    def plain(self, value: Any) -> Any:
        return {self.registry.key: value.type, **value.dump()}


class Either(Strict):
    """A value of any of several types, such as a number or the word 'auto'; at most one of them is a section."""

    def __init__(self, options: list[Strict], **common: Any) -> None:
        super().__init__(**common)
        self.options = options
        self.expected = _or(option.expected for option in options)
        self.several = _or(option.several for option in options)

    def read(self, value: Any) -> Any:
        for option in self.options:
            if isinstance(option, Sub) and isinstance(value, Mapping):
                return option.read(value)  # whose error says more
            try:
                return option.read(value)
            except ValidationError:
                continue
        raise self.refuse(value)

    def plain(self, value: Any) -> Any:
        sections = [option for option in self.options if isinstance(option, Sub)]
        return next((option.plain(value) for option in sections if isinstance(value, option.section)), deepcopy(value))


def _read_all(item: Strict, pairs: Iterable[tuple[Any, Any]]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return what could be read of every value, and the messages of those that could not."""
    values: dict[Any, Any] = {}
    messages: dict[Any, Any] = {}
    for key, value in pairs:
        try:
            values[key] = item.deserialize(value)
        except ValidationError as error:
            values[key] = error.valid_data or UNREADABLE
            messages[key] = error.messages
    return values, messages
