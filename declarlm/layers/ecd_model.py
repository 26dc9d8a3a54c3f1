"""Encoders, a combiner and heads as one module."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from declarlm.layers.hidden import Hidden


class EcdModel(nn.Module):
    """Encode every input, join the vectors, and let every head give its scores.

    Args:
        encoders: The encoders' modules.
        encoder_of: Place in ``encoders`` of each input's encoder, by input name; tied inputs share one.
        combiner: Maps the ``Hidden`` of all inputs, by name, to one vector a row.
        heads: For each output, by name, what maps that vector to its scores.
    """

    def __init__(
        self,
        encoders: list[nn.Module],
        encoder_of: Mapping[str, int],
        combiner: nn.Module,
        heads: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.encoder_of = dict(encoder_of)
        self.combiner = combiner
        # A list, as a ModuleDict refuses names with a dot.
        self.heads = nn.ModuleList(heads.values())
        self.outputs = list(heads)

    def forward(self, batch: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return each output's scores, ``float (batch, size)``, by name.

        Args:
            batch: For each input, by name, what its encoder's ``collate`` gave, or ``pooled`` alone: vectors
                that a frozen encoder gave earlier.
        """
        hidden = {
            name: Hidden(batch[name]["pooled"]) if "pooled" in batch[name] else self.encoders[place](**batch[name])
            for name, place in self.encoder_of.items()
        }
        joined = self.combiner(hidden)
        return {name: head(joined) for name, head in zip(self.outputs, self.heads, strict=True)}
