"""Encoders, a combiner and heads as one module."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from declarlm.layers.hidden import Hidden


class EcdModel(nn.Module):
    """Encode every input, join the vectors, and let every head give its scores.

    Args:
        encoders: The encoders' modules.
        encoder_of: Place in ``encoders`` of each input's encoder, by input name; tied inputs share one.
        combiner: Maps the ``Hidden`` of all inputs, by name, to one vector a row.
        heads: For each output, by name, what maps that vector to its scores.
        tagged: For each output with scores for each word, by name, the input whose words these are. Its head gets
            the vectors of their tokens, and with several inputs the joined vector beside each.
    """

    def __init__(
        self,
        encoders: list[nn.Module],
        encoder_of: Mapping[str, int],
        combiner: nn.Module,
        heads: Mapping[str, nn.Module],
        tagged: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.encoder_of = dict(encoder_of)
        self.combiner = combiner
        # A list, as a ModuleDict refuses names with a dot.
        self.heads = nn.ModuleList(heads.values())
        self.outputs = list(heads)
        self.tagged = dict(tagged or {})

    def forward(self, batch: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return each output's scores, ``float (batch, size)``, of words ``float (words of the batch, size)``, by name.

        Args:
            batch: For each input, by name, what its encoder's ``collate`` gave, or ``pooled`` alone: vectors
                that a frozen encoder gave earlier. For each tagged output ``rows`` and ``tokens``: where in the
                batch the token of each word stands.
        """
        hidden = {
            name: Hidden(batch[name]["pooled"]) if "pooled" in batch[name] else self.encoders[place](**batch[name])
            for name, place in self.encoder_of.items()
        }
        joined = self.combiner(hidden)
        return {
            name: head(self._words(hidden, joined, name, **batch[name]) if name in self.tagged else joined)
            for name, head in zip(self.outputs, self.heads, strict=True)
        }

    def _words(self, hidden: Mapping[str, Hidden], joined: Tensor, name: str, rows: Tensor, tokens: Tensor) -> Tensor:
        """Return what the head of a tagged output reads of each word, ``float (words, width)``."""
        states = hidden[self.tagged[name]].tokens
        if states is None:
            raise ValueError(f"the encoder of {self.tagged[name]!r} gives no vectors of tokens")
        words = states[rows, tokens]
        return words if len(hidden) == 1 else torch.cat([words, joined[rows]], dim=-1)
