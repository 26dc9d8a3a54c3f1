"""Named plugins: the one way to extend Declarlm.

A plugin is a class with a nested ``Config`` section and one decorator::

    @encoders.register("dense")
    class DenseEncoder(Encoder):
        class Config(Encoder.Config):
            size: int = param("Length of the hidden vector.", default=64, min=1)

That file is all there is to write. Validation, the JSON schema and the reference pages read ``Config``;
the model builder calls ``config.build()``, which makes the class that ``Config`` is nested in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from functools import cache
from importlib import import_module
from inspect import getdoc
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from declarlm.core.errors import DeclarlmError, choose_from

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
Class = TypeVar("Class", bound=type)


class Registry(Generic[T]):
    """The plugins of one kind, by name.

    Plugins are found on first use: the modules beside the base class, then what other installed packages list
    under an entry point group: ``declarlm.encoders``, ``declarlm.output_features``, ``declarlm.losses``.

    Attributes:
        kind: What one of them is called.
        plural: What several are called.
        key: The key of a config's mapping that names the plugin.
    """

    def __init__(self, kind: str, package: str, key: str = "type") -> None:
        self.kind, self.key = kind, key
        self.plural = kind + ("es" if kind.endswith("s") else "s")
        self._package = package
        self._plugins: dict[str, type[T]] = {}
        self._wanted: dict[str, Any] = {}
        self._pending = [True]  # shared with every view, emptied by the search

    def register(self, name: str) -> Callable[[Class], Class]:
        """Return a decorator that makes a class known as ``name`` and gives it a ``Config`` of its own."""

        def decorate(plugin: Any) -> Any:
            known = self._plugins.get(name)
            # The same class again is a notebook cell that ran twice.
            if known is not None and (known.__module__, known.__qualname__) != (plugin.__module__, plugin.__qualname__):
                raise DeclarlmError(f"two {self.kind}s are named {name!r}: {known} and {plugin}")
            if not getdoc(plugin):
                raise DeclarlmError(f"{self.kind} {name!r} needs a docstring, it becomes its reference page")
            if "Config" not in vars(plugin):
                plugin.Config = type("Config", (plugin.Config,), {"__module__": plugin.__module__})
            plugin.Config.type, plugin.Config.plugin = name, plugin
            self._plugins[name] = plugin
            return plugin

        return decorate

    def where(self, **attributes: Any) -> Registry[T]:
        """Return a live view of the plugins whose class attributes are, or contain, these values.

        >>> list(encoders.where(accepts="category"))
        ['embedding']
        """
        view = copy(self)
        view._wanted = {**self._wanted, **attributes}
        return view

    def __getitem__(self, name: str) -> type[T]:
        fitting = list(self)
        if name in fitting:
            return self._plugins[name]
        if name in list(self._plugins):
            raise DeclarlmError(
                f"{self.kind} {name!r} does not fit here: {self._misfit(self._plugins[name])}"
                f", choose from: {', '.join(fitting)}"
            )
        raise DeclarlmError(f"no {self.kind} is named {choose_from(name, fitting)}")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in list(self)

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return (name for name, plugin in sorted(self._plugins.items()) if not self._misfit(plugin))

    def _misfit(self, plugin: type[T]) -> str:
        """Return why a plugin is not in this view, an empty string if it is."""
        for attribute, wanted in self._wanted.items():
            found: Any = getattr(plugin, attribute, None)
            options = sorted(found) if isinstance(found, frozenset | set | tuple | list) else [found]
            if wanted not in options:
                return f"its {attribute!r} is {', '.join(map(str, options))}, not {wanted}"
        return ""

    def _discover(self) -> None:
        if not self._pending:
            return
        self._pending.clear()
        for module in iter_modules(getattr(import_module(self._package), "__path__", [])):
            import_module(f"{self._package}.{module.name}")
        for entry_point in _installed():
            if entry_point.group != f"declarlm.{self.plural.replace(' ', '_')}":
                continue
            try:
                entry_point.load()
            except (ImportError, AttributeError) as error:
                raise DeclarlmError(
                    f"{self.kind} {entry_point.name!r} ({entry_point.value}) is broken: {error}"
                ) from error


@cache
def _installed() -> list[EntryPoint]:
    from importlib.metadata import distributions

    return [
        point for package in distributions() for point in package.entry_points if point.group.startswith("declarlm.")
    ]
