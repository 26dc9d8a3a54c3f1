"""Configs that nobody thought of: any values that the parameters of a section may take."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from declarlm.core import Section
from declarlm.core.fields import Choice, Either, Entries, Items, OneOf, Plain, Sub

WORDS = st.text("abcxyz _-0123456789é", min_size=1, max_size=8)


def sections(section: type[Section], **fixed: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return raw data for a section, with some of its optional parameters; rules between them may be broken."""
    fields = {name: field for name, field in section.schema().fields.items() if name not in fixed}
    required = {name: values(field) for name, field in fields.items() if field.required}
    optional = {name: values(field) for name, field in fields.items() if not field.required}
    drawn = st.fixed_dictionaries(required, optional=optional)
    return drawn.map(lambda data: {**fixed, **data})


def values(field: Any) -> st.SearchStrategy[Any]:
    """Return values that a field reads."""
    present = _present(field)
    return st.none() | present if field.allow_none else present


def _present(field: Any) -> st.SearchStrategy[Any]:
    match field:
        case Choice():
            return st.sampled_from(list(field.registry)).flatmap(
                lambda name: sections(field.registry[name].Config, **{field.registry.key: name})
            )
        case Either():
            return st.one_of([values(option) for option in field.options])
        case Sub():
            return sections(field.section)
        case Items():
            return st.lists(values(field.item), max_size=3)
        case Entries():
            return st.dictionaries(WORDS, values(field.item), max_size=2)
        case OneOf():
            return st.sampled_from(field.options)
        case Plain():
            return _plain(field)
    return st.none() | st.booleans() | WORDS


def _plain(field: Plain) -> st.SearchStrategy[Any]:
    limits = field.limits
    if field.kind is bool:
        return st.booleans()
    if field.kind is str:
        return st.from_regex(field.pattern, fullmatch=True) if field.pattern else WORDS
    if field.kind is int:
        low = max(limits.get("min", -100), limits.get("above", -101) + 1)
        return st.integers(int(low), int(min(limits.get("max", 1000), limits.get("below", 1001) - 1)))
    return st.floats(
        limits.get("min", limits.get("above", -100.0)),
        limits.get("max", limits.get("below", 1000.0)),
        exclude_min="above" in limits,
        exclude_max="below" in limits,
        width=32,
    )
