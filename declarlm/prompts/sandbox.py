"""A Jinja environment for templates that nobody has checked, such as a model's chat template.

The stock sandbox keeps a template from Python's internals, not from looping for hours or filling the memory. Here
loops, calls, operators and filters spend from a budget, what could expand without a loop is refused, and text that
comes from cells stays recognisable through all of them. This module loads Jinja: import it where it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, MappingView
from functools import wraps
from typing import Any

from jinja2 import Undefined, nodes
from jinja2.environment import Template
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from declarlm.prompts.budget import MAX_SOURCE, LimitError, budget, ensure_fits, spend
from declarlm.prompts.segments import Cell, column_of, is_missing, join, mark_all

# What a template can raise while it runs: Jinja's own errors and those of Python's operators and methods.
TEMPLATE_ERRORS = (
    TemplateError,
    LimitError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
    SyntaxError,
)

# Either text grows with an argument, or the time with the square of the text, or the result is not reproducible.
_REFUSED_FILTERS = frozenset(
    {"attr", "batch", "center", "filesizeformat", "format", "indent", "pprint", "random", "slice", "striptags"}
    | {"urlize", "wordwrap", "xmlattr"}
)
_STRING_METHODS = frozenset(
    {name for name in dir(str) if name.startswith("is")}
    | {"capitalize", "casefold", "count", "endswith", "find", "index", "join", "lower", "lstrip", "partition"}
    | {"removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split"}
    | {"splitlines", "startswith", "strip", "swapcase", "title", "upper"}
)
_REFUSED_NODES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.ScopedEvalContextModifier)
_MAX_INTEGER_BITS = 4096


class _Metered(NodeTransformer):
    """Routes what can take long, and what joins text, through filters of the sandbox."""

    def get_visitor(self, node: nodes.Node) -> Any:
        return {
            nodes.For: self._for,
            nodes.Concat: self._concat,
            nodes.Compare: self._compare,
            nodes.Pair: self._pair,
            nodes.Getitem: self._getitem,
            nodes.NSRef: self._namespace,
        }.get(type(node), self._refuse if isinstance(node, _REFUSED_NODES) else None)

    def _for(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter(node.iter, "declarlm_loop")
        return node

    def _concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "declarlm_concat")

    def _compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filter(node.expr, "declarlm_weigh")
        for operand in node.ops:
            operand.expr = _filter(operand.expr, "declarlm_weigh")
        return node

    def _pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = _filter(node.key, "declarlm_weigh")
        return node

    def _getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, "declarlm_weigh")
        elif not isinstance(node.arg, nodes.Const):
            node.arg = _filter(node.arg, "declarlm_weigh")
        return node

    def _namespace(self, node: nodes.NSRef) -> nodes.Node:
        if node.attr.startswith("_"):
            raise LimitError(f"may not set {node.attr!r}")
        return node

    def _refuse(self, node: nodes.Node) -> nodes.Node:
        raise LimitError(f"may not use {{% {type(node).__name__.lower()} %}}")


def _filter(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class Generation(Extension):
    """Accepts ``{% generation %}``, which chat templates put around what the assistant says."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja with a budget, in which cells stay cells."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *, keep_trailing_newline: bool) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=keep_trailing_newline,
            extensions=["jinja2.ext.loopcontrols", Generation],
            finalize=printed,
        )
        self.filters = {name: _guarded(function, _CHECKS.get(name)) for name, function in self.filters.items()}
        self.filters |= {name: _refused(name) for name in _REFUSED_FILTERS}
        self.filters["tojson"] = _json
        self.filters |= {"declarlm_loop": _loop, "declarlm_concat": _concat, "declarlm_weigh": _weighed}
        tests: dict[str, Any] = self.tests
        self.tests = {name: _guarded(function) for name, function in tests.items()}
        self.globals = {
            "range": self.globals["range"],
            "namespace": self.globals["namespace"],
            "dict": lambda *args, **kwargs: dict(*args, **kwargs),
        }

    def run(self, template: Template, values: dict[str, Any]) -> list[str]:
        """Return what ``template`` prints, stretch by stretch; those from cells are cells.

        Raises:
            TEMPLATE_ERRORS: Whatever goes wrong.
        """
        with budget(_weigh(values)[1]):
            printed, size = [], 0
            for text in template.root_render_func(template.new_context(values)):
                size += len(text)
                ensure_fits(size)
                spend(1)
                printed.append(text)
            return printed

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a macro, a block or a loop has printed."""
        parts = list(parts)
        ensure_fits(sum(map(len, parts)))
        spend(len(parts))
        return join(parts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > MAX_SOURCE:
            raise LimitError(f"is longer than {MAX_SOURCE:,} characters")
        template: nodes.Template = _Metered().visit(super()._parse(source, name, filename))
        return template

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute; one that a cell does not have is an error, where Jinja would print nothing."""
        value = super().getattr(obj, attribute)
        if isinstance(value, Undefined) and isinstance(obj, Cell):
            raise LimitError(f"asks the text of {column_of(obj)!r} for .{attribute}, which text does not have")
        return value

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        column, size = _weigh((left, right))
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise LimitError(f"may not use {operator} here")
        if operator == "*":
            _check_product(left, right)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            ensure_fits(size)
            return join([left, right])
        result = super().call_binop(context, operator, left, right)
        return result if column is None else mark_all(result, column)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        name, owner = getattr(function, "__name__", ""), getattr(function, "__self__", None)
        if name in ("format", "format_map") or (isinstance(owner, str) and name not in _STRING_METHODS):
            raise LimitError(f"may not call .{name}()")
        args, kwargs = _settled(args), {key: _settle(value) for key, value in kwargs.items()}
        column, _ = _weigh((owner, args, kwargs))
        spend(10)
        if isinstance(owner, str) and name == "join":
            _check_join(*args, owner)
        if isinstance(owner, str) and name == "replace":
            _check_replace(owner, *args)
        result = super().call(context, function, *args, **kwargs)
        return result if column is None else mark_all(result, column)


def printed(value: Any) -> Any:
    """Return what ``{{ value }}`` prints: nothing for what is missing, JSON for lists and mappings."""
    if isinstance(value, str | Undefined):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list | tuple | dict):
        return _json(value)
    raise TypeError(f"cannot print a {type(value).__name__}")


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    if indent is not None and indent > 16:
        raise LimitError("may not indent by more than 16")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise LimitError(f"may not use the filter {name!r}")

    return refuse


def _guarded(function: Callable[..., Any], check: Callable[..., None] | None = None) -> Callable[..., Any]:
    """Return a filter or test that pays for what it handles, and whose result is a cell if an argument is."""
    hidden = int(hasattr(function, "jinja_pass_arg"))  # Jinja then passes its own context first.

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        args = _settled(args)
        column, size = _weigh((args, kwargs))
        ensure_fits(size)
        if check is not None:
            check(*args[hidden:], *kwargs.values())
        result = function(*args, **kwargs)
        if isinstance(result, str) and not isinstance(result, Cell):
            result = str.__str__(result)  # Markup, which would escape what it meets.
        return result if column is None else mark_all(result, column)

    return guarded


def _settled(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(_settle, args))


def _settle(value: Any) -> Any:
    """Return what a generator yields, as a list: what is in it must be seen before it is used."""
    return list(_loop(value)) if isinstance(value, Iterator) else value


def _weighed(value: Any) -> Any:
    _weigh(value)
    return value


def _concat(values: list[Any]) -> str:
    """Return ``a ~ b``."""
    texts = [str(printed(value)) for value in values]
    ensure_fits(sum(map(len, texts)))
    return join(texts)


def _loop(items: Any) -> Any:
    """Return ``items``, each of which costs a step."""
    if isinstance(items, Undefined):
        return items
    if hasattr(items, "__len__"):  # Known ahead, so that loop.last and loop.length need no look ahead.
        spend(len(items))
        return items
    return _paid(items)


def _paid(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        spend(1)
        yield item


def _weigh(value: Any) -> tuple[str | None, int]:
    """Return the first column found in ``value``, and its characters; each thousand and each element cost a step.

    A nesting such as ``[x, x]`` forty times is paid for in full, since comparing or printing it would walk it all.
    """
    column, size, waiting = None, 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            size += len(item)
            spend(len(item) // 1000)
            if column is None and isinstance(item, Cell):
                column = column_of(item)
        elif isinstance(item, Namespace):
            waiting.append(object.__getattribute__(item, "_Namespace__attrs"))
        elif isinstance(item, dict):
            spend(len(item))
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset | MappingView):
            spend(len(item))
            waiting += item  # type: ignore[arg-type]
        elif isinstance(item, range):
            spend(len(item))
    return column, size


def _check_product(left: Any, right: Any) -> None:
    """Refuse a repetition that is too long, and integers that are too large."""
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _MAX_INTEGER_BITS:
            raise LimitError("computes with integers that are too large")
        return
    times, repeated = (left, right) if isinstance(left, int) else (right, left)
    if isinstance(times, int) and isinstance(repeated, str):
        ensure_fits(times * len(repeated))
    elif isinstance(times, int) and isinstance(repeated, list | tuple):
        spend(max(0, times * len(repeated)))


def _check_join(items: Any, *others: Any) -> None:
    """Refuse a join that would make too long a string; the separator is among ``others``."""
    count = len(items) if hasattr(items, "__len__") else 0
    spend(count)
    ensure_fits(count * sum(len(str(other)) for other in others) + _weigh(items)[1])


def _check_replace(text: Any, old: Any = "", new: Any = "", *_: Any) -> None:
    """Refuse a replacement that would make too long a string."""
    text, old, new = str(text), str(old), str(new)
    found = len(text) // len(old) if old else len(text) + 1
    ensure_fits(len(text) + found * max(0, len(new) - len(old)))


_CHECKS: dict[str, Callable[..., None]] = {"join": _check_join, "replace": _check_replace}
_json = _guarded(_to_json)
