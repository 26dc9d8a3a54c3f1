"""What every combiner has in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import Problem, Registry, Section

if TYPE_CHECKING:
    from torch import nn

combiners: Registry[Combiner] = Registry("combiner", package="declarlm.combiners")


class Combiner:
    """Join the hidden vectors of all inputs of a row into one.

    Attributes:
        learning_rate: Rate that suits a linear head on the vector that it gives.
        config: The section that describes the combiner.
    """

    learning_rate: ClassVar[float] = 1e-2

    class Config(Section):
        def check_inputs(self, names: list[str]) -> Iterable[Problem]:
            """Yield what is wrong with the section for inputs of these names."""
            return ()

    def __init__(self, config: Any) -> None:
        self.config = config

    def build(self, widths: dict[str, int]) -> nn.Module:
        """Return the module: it has a ``width`` and maps ``Hidden`` by input name to ``float (batch, width)``.

        Args:
            widths: Length of each input's pooled vector, by name of the input, in config order.
        """
        raise NotImplementedError
