"""One-hot encoder for categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from declarlm.core import param
from declarlm.encoders.base import Encoder, encoders
from declarlm.encoders.dense import count_categories

if TYPE_CHECKING:
    from torch import nn


@encoders.register("onehot")
class OneHotEncoder(Encoder):
    """Give each category a place of its own, with nothing to train.

    Input: ids, ``int64 (batch,)``. Output: ``float32 (batch, categories)``.
    """

    accepts = frozenset({"category"})

    class State(Encoder.State):
        num_categories: int = param("How many ids there are.", min=1)

    def fit(self, values: Any) -> Self:
        self.state = self.State(num_categories=count_categories(values))
        return self

    def build(self) -> nn.Module:
        from declarlm.layers.tabular import OneHot

        return OneHot(self.state.num_categories)
