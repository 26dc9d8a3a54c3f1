"""What adapters would train of a base, and which layers it has; no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from declarlm.adapters.base import adapters
from declarlm.adapters.targets import find_targets, last_name, linear_layers
from declarlm.backbones import open_backbone
from declarlm.backbones.loading import skeleton
from declarlm.core import ConfigError
from declarlm.training.weights import Weights, count_weights

if TYPE_CHECKING:
    from torch import nn

STEPS = 1000  # of a training that is only imagined


@dataclass(frozen=True)
class Layers:
    """Linear layers of a base that have one name and size.

    Attributes:
        name: The last part of their full names, by which ``target_modules`` chooses them.
        count: How many there are.
        inputs: Numbers that each reads.
        outputs: Numbers that each gives.
        adapted: Whether ``target_modules: auto`` means them.
        example: The full name of the first.
    """

    name: str
    count: int
    inputs: int
    outputs: int
    adapted: bool
    example: str


def layers_of_base(name: str) -> list[Layers]:
    """Return the linear layers of a base, in its order.

    Raises:
        ModelError: If there is no such base.
    """
    module: nn.Module = skeleton(open_backbone(name))
    chosen = set(find_targets(module, "auto").names)
    groups: dict[tuple[str, int, int, bool], list[str]] = {}
    for full, layer in linear_layers(module).items():
        rows, columns = layer.weight.shape  # type: ignore[misc]
        turned = not hasattr(layer, "in_features")  # GPT-2's kind stores (in, out)
        sizes = (int(rows), int(columns)) if turned else (int(columns), int(rows))
        groups.setdefault((last_name(full), *sizes, full in chosen), []).append(full)
    return [
        Layers(last, len(names), inputs, outputs, adapted, names[0])
        for (last, inputs, outputs, adapted), names in groups.items()
    ]


def weights_by_adapter(name: str) -> dict[str, Weights | str]:
    """Return how much each adapter would train of a base by its own defaults, or why it does not fit.

    Raises:
        ModelError: If there is no such base.
    """
    backbone, found = open_backbone(name), dict[str, Weights | str]()
    for kind in adapters:
        try:
            made = adapters[kind].Config().build().attach(skeleton(backbone), total_steps=STEPS, seed=0)
        except ConfigError as error:
            found[kind] = "; ".join(problem.message for problem in error.problems)
        else:
            found[kind] = count_weights(made)
    return found
