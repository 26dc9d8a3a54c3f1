"""Labels as a tree of tokens, so that what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class LabelTree:
    """Some labels, merged where they begin alike.

    A label's last token is only predicted, never read, so it is an edge without a node at its end.

    Attributes:
        labels: Which labels these are, ``(labels,)``.
        tokens: Token of each node, ``(nodes,)``.
        depth: Tokens between the prompt and each node, ``(nodes,)``.
        visible: Whether a node (row) sees another: itself and those on its path, bool ``(nodes, nodes)``.
        sources: What predicts each edge: 0 is the end of the prompt, others are nodes plus 1; ascending, ``(edges,)``.
        targets: Token of each edge, ``(edges,)``.
        paths: Which edges make each label, float32 ``(edges, labels)``.
    """

    labels: np.ndarray[Any, Any]
    tokens: np.ndarray[Any, Any]
    depth: np.ndarray[Any, Any]
    visible: np.ndarray[Any, Any]
    sources: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]
    paths: np.ndarray[Any, Any]


def plant(labels: Sequence[Sequence[int]], most_nodes: int) -> list[LabelTree]:
    """Return trees of at most ``most_nodes`` nodes (or of one label) that hold all labels."""
    order = sorted(range(len(labels)), key=lambda label: list(labels[label]))
    trees: list[LabelTree] = []
    group: list[int] = []
    nodes: set[tuple[int, ...]] = set()
    for label in order:
        path = {tuple(labels[label][:end]) for end in range(1, len(labels[label]))}
        if group and len(nodes | path) > most_nodes:
            trees.append(_grow(labels, group))
            group, nodes = [], set()
        group.append(label)
        nodes |= path
    return [*trees, _grow(labels, group)] if group else trees


def _grow(labels: Sequence[Sequence[int]], group: list[int]) -> LabelTree:
    """Return the tree of the labels whose numbers are in ``group``."""
    import numpy as np

    nodes: dict[tuple[int, ...], int] = {(): 0}
    edges: dict[tuple[int, int], int] = {}
    paths = []
    for label in group:
        tokens = tuple(labels[label])
        for end in range(1, len(tokens)):
            nodes.setdefault(tokens[:end], len(nodes))
        steps = [(nodes[tokens[:end]], tokens[end]) for end in range(len(tokens))]
        paths.append([edges.setdefault(step, len(edges)) for step in steps])
    prefixes = list(nodes)[1:]
    visible = np.zeros((len(nodes), len(nodes)), dtype=bool)
    for prefix, node in nodes.items():
        visible[node, [nodes[prefix[:end]] for end in range(1, len(prefix) + 1)]] = True
    by_source = np.argsort([source for source, _ in edges], kind="stable")
    incidence = np.zeros((len(edges), len(group)), dtype=np.float32)
    for column, path in enumerate(paths):
        incidence[path, column] = 1
    steps = list(edges)
    return LabelTree(
        labels=np.array(group),
        tokens=np.array([prefix[-1] for prefix in prefixes], dtype=np.int64),
        depth=np.array([len(prefix) - 1 for prefix in prefixes], dtype=np.int64),
        visible=visible[1:, 1:],
        sources=np.array([steps[edge][0] for edge in by_source], dtype=np.int64),
        targets=np.array([steps[edge][1] for edge in by_source], dtype=np.int64),
        paths=incidence[by_source],
    )
