"""Which layers of a base an adapter goes into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from declarlm.core import ConfigError, Problem
from declarlm.core.errors import choose_from

if TYPE_CHECKING:
    from torch import nn

AUTOMATIC = ("auto", "all-linear")
# Full names of the linear layers that end a feed-forward, and of those that end an attention, in every family known.
FEEDFORWARD_END = re.compile(
    r"(.*\.)?(down_proj|fc2|fc_out|dense_4h_to_h|wo|w2|lin2|ffn_output|mlp\.(c_proj|Wo|dense)|layer\.\d+\.output\.dense)"
)
ATTENTION_END = re.compile(
    r"(.*\.)?(o_proj|out_proj|out_lin|o|attn\.(c_proj|Wo)|attention\.output\.dense|attention\.dense"
    r"|self_attention\.dense|self_attn\.dense)"
)


@dataclass(frozen=True)
class Targets:
    """The chosen layers, in the words of PEFT.

    Attributes:
        names: Full names of the chosen layers.
        target_modules: Last names, or a pattern of full names.
        exclude_modules: Full names of layers that ``target_modules`` also means, but that were not chosen.
        fan_in_fan_out: Whether the layers store their weights as ``(in, out)``, as GPT-2 does.
    """

    names: list[str]
    target_modules: list[str] | str
    exclude_modules: list[str]
    fan_in_fan_out: bool


def find_targets(module: nn.Module, wanted: str | list[str] | None) -> Targets:
    """Return the layers that ``wanted`` means.

    Args:
        module: The base.
        wanted: ``auto`` or ``all-linear`` for every linear layer but the output head and an encoder's pooler, names
            of layers, or a regular expression of full names.

    Raises:
        ConfigError: If a name or the expression means no linear layer of this base.
    """
    layers = linear_layers(module)
    if wanted is None or wanted in AUTOMATIC:
        outside = _heads(module)
        chosen = [name for name in layers if name not in outside and "pooler" not in name.split(".")]
        patterns: list[str] | str = sorted({last_name(name) for name in chosen})
        problems = [] if chosen else [Problem("adapter.target_modules", "the base has no linear layer to adapt")]
    else:
        patterns = wanted
        chosen = [name for name in layers if matches(name, wanted)]
        problems = list(_unmatched(module, layers, wanted))
    if problems:
        raise ConfigError("config", problems)
    taken = set(chosen)
    excluded = [name for name, _ in module.named_modules() if name not in taken and matches(name, patterns)]
    return Targets(chosen, patterns, excluded, transposed(layers, chosen))


def transposed(layers: Mapping[str, nn.Module], names: Iterable[str]) -> bool:
    """Return whether one of the named layers stores its weights as ``(in, out)``."""
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(layers[name], Conv1D) for name in names)


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers by full name, quantized ones and GPT-2's kind included."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | Conv1D)}


def matches(name: str, patterns: Iterable[str] | str) -> bool:
    """Return whether a layer of that full name is meant: by its end, or by a regular expression as a whole."""
    if isinstance(patterns, str):
        return re.fullmatch(patterns, name) is not None
    return any(name == pattern or name.endswith(f".{pattern}") for pattern in patterns)


def _heads(module: nn.Module) -> set[str]:
    get_head = getattr(module, "get_output_embeddings", None)
    head = get_head() if get_head else None
    return {name for name, layer in module.named_modules() if layer is head} if head is not None else set()


def last_name(name: str) -> str:
    """Return the end of a full name that says what the layer is; a number alone does not."""
    parts = name.split(".")
    first = max((i for i, part in enumerate(parts) if not part.isdigit()), default=0)
    return ".".join(parts[first:])


def _unmatched(module: nn.Module, layers: dict[str, nn.Module], wanted: str | list[str]) -> Iterable[Problem]:
    known = sorted({last_name(name) for name in layers})
    if isinstance(wanted, str):
        if not any(matches(name, wanted) for name in layers):
            remedy = (
                f"write [{wanted}] to choose by last name" if wanted in known else f"last names: {', '.join(known)}"
            )
            yield Problem(
                "adapter.target_modules",
                f"the pattern {wanted!r} matches no linear layer's full name, such as {next(iter(layers))}; {remedy}",
            )
        return
    for place, name in enumerate(wanted):
        if any(matches(layer, [name]) for layer in layers):
            continue
        if any(matches(other, [name]) for other, _ in module.named_modules()):
            message = f"{name!r} is not a linear layer, choose from: {', '.join(known)}"
        else:
            message = f"no layer is named {choose_from(name, known)}"
        yield Problem(f"adapter.target_modules[{place}]", message)
