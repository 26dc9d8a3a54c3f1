"""Running a base as it was before its adapter."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from declarlm.core import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

_KEPT = "weights_before_adapter"


def remember(module: nn.Module, weights: Iterable[nn.Parameter]) -> None:
    """Keep the present values of those weights of a base that an adapter is about to change in place."""
    found = [(weight, weight.detach().clone()) for weight in weights]
    if found:
        setattr(module, _KEPT, [*kept(module), *found])


def kept(module: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Return what ``remember`` kept: each weight with the value that it had."""
    found: list[tuple[nn.Parameter, Tensor]] = getattr(module, _KEPT, [])
    return found


@contextmanager
def base_alone(module: nn.Module) -> Iterator[None]:
    """Let PEFT's wrapper compute what its base did before the adapter, for the length of the block.

    Raises:
        ModelError: If the adapter changed weights of the base that are now spread over several processes.
    """
    wrapped: Any = module
    trainable = {id(weight) for weight in module.parameters() if weight.requires_grad}
    switch = wrapped.disable_adapter()
    try:
        with original_weights(module), ExitStack() as ending:
            with quiet():  # PEFT doubts the biases, which are put back
                ending.enter_context(switch)
            yield
    finally:
        for weight in module.parameters():  # PEFT lets an adapter train that it switches on again
            if weight.requires_grad != (id(weight) in trainable):
                weight.requires_grad_(id(weight) in trainable)


@contextmanager
def original_weights(module: nn.Module) -> Iterator[None]:
    """Put back what ``remember`` kept, for the length of the block."""
    before_it = kept(module)
    present = {id(weight) for weight in module.parameters()}
    if any(id(weight) not in present for weight, _ in before_it):
        raise ModelError(
            "an adapter that changes weights of its base cannot be switched off while they are spread over several "
            "processes; write adapter.bias_type: none, or train in one process"
        )
    # Not in place: a graph that holds these weights must find them unchanged at its backward pass.
    changed = [(weight, weight.data) for weight, _ in before_it]
    try:
        for weight, before in before_it:
            weight.data = before.to(weight.device, weight.dtype)
        yield
    finally:
        for weight, after in changed:
            weight.data = after


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what PEFT warns of to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
