"""Several adapters as Ludwig writes them: in a section that also names the active one and a merge."""

from __future__ import annotations

from typing import Any

_KEYS = {"adapters", "active", "merge"}
_MERGE = {"name": "merged", "sources": None, "weights": None, "combination_type": "linear", "density": 0.5}


def upgrade_adapters(tree: Any) -> None:
    """Lay Ludwig's section out as one mapping of names; it is asked for by its key ``adapters`` in ``adapters``."""
    given = tree.get("adapters")
    if "adapters" in tree.data and given is None:
        tree.pop(("adapters",))
    inner = given.get("adapters") if isinstance(given, dict) else None
    if not isinstance(inner, dict) or not set(given) <= _KEYS or not all(map(_is_entry, inner.values())):
        return
    entries = {name: _entry(tree, name, entry) for name, entry in inner.items()}
    merge = given.get("merge")
    if isinstance(merge, dict):
        merge = {**_MERGE, **merge}
        kept = {key: merge[key] for key in ("sources", "weights", "combination_type") if merge[key] is not None}
        is_cut = str(merge["combination_type"]).startswith(("ties", "dare"))
        entries[str(merge["name"])] = {**kept, **({"density": merge["density"]} if is_cut else {})}
        for key in sorted(merge.keys() - _MERGE.keys()):
            tree.problem(("adapters", "merge", key), "is no key of a merge that Declarlm knows; leave it out")
    if given.get("active") is not None:
        tree.put(("active_adapter",), given["active"], ("adapters", "active"))
    tree.put(("adapters",), entries, ("adapters",))


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, str | dict)


def _entry(tree: Any, name: str, entry: Any) -> Any:
    """Return what is known of an adapter that was trained; one that is new is trained in a run of its own."""
    place = ("adapters", "adapters", name)
    if isinstance(entry, str) or entry.get("pretrained_adapter_weights") is None:
        tree.problem(place, "is new; train each adapter in a run of its own, under adapter, and write that run here")
        return "new"
    for key in sorted(entry.keys() - {"type", "pretrained_adapter_weights"}):
        tree.drop((*place, key), "it comes with the trained weights")
    return dict(entry)
