"""What every decoder has in common: from a model's output to the values of one column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from declarlm.core import Registry, Section

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

decoders: Registry[Decoder] = Registry("decoder", package="declarlm.decoders")


class Decoder:
    """Read one output feature out of a model.

    Attributes:
        accepts: Types of output features that the decoder fits.
        model_types: Model types that it reads: ``ecd`` (a ``Head``) or ``llm`` (an ``Extractor``).
        config: The section that describes the decoder.
    """

    accepts: ClassVar[frozenset[str]]
    model_types: ClassVar[frozenset[str]]

    class Config(Section):
        pass

    def __init__(self, config: Any) -> None:
        self.config = config


class Head(Decoder):
    """A decoder that is trained: hidden vector in, scores out."""

    model_types = frozenset({"ecd"})

    def build(self, width: int, size: int) -> nn.Module:
        """Return the module that maps ``float (batch, width)`` to scores, ``float (batch, size)``."""
        raise NotImplementedError


class Extractor(Decoder):
    """A decoder that reads the answer which a language model wrote or scored."""

    model_types = frozenset({"llm"})


def softmax(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the share of each column, ``float64 (rows, columns)``; scores may be log-probabilities or logits."""
    import numpy as np

    shares = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    result: np.ndarray[Any, Any] = shares / shares.sum(axis=1, keepdims=True)
    return result
