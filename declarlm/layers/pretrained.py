"""A Hugging Face model as a text encoder."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from declarlm.layers.hidden import Hidden
from declarlm.layers.pooling import pool


class PretrainedText(nn.Module):
    """Run token ids through a body and pool its last hidden states.

    Args:
        body: A model whose output has a ``last_hidden_state``.
        width: Length of a hidden state.
        how: As in ``pool``, or ``cls_pooled`` for the body's own pooler.
        frozen: Whether nothing in the body is trained; it then never drops out.
    """

    def __init__(self, body: Any, width: int, how: str, *, frozen: bool) -> None:
        super().__init__()
        self.body = body
        self.width = width
        self.how = how
        self.frozen = frozen

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; a frozen body stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        return self

    def forward(self, ids: Tensor, mask: Tensor) -> Hidden:
        """Map ids, ``int64 (batch, length)``, padded on the right, to vectors.

        Args:
            ids: Token ids; what stands in padded places does not matter.
            mask: Which tokens are real, ``bool (batch, length)``.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            found = self.body(input_ids=ids, attention_mask=mask.long())
        # An adapter may have put virtual tokens before the row.
        tokens = found.last_hidden_state[:, -ids.shape[1] :].float()
        pooled = found.pooler_output if self.how == "cls_pooled" else pool(tokens, mask, self.how)
        return Hidden(pooled, tokens, mask)
