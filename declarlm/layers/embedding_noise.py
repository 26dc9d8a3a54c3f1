"""Noise on the embeddings of what is read, in training only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class EmbeddingNoise:
    """Adds to each embedding a value between -1 and 1, times ``alpha / sqrt(length of the row * width)``.

    A row's length is that of its own tokens, so padding and packing do not change how much noise there is.
    Source: Jain et al., "NEFTune", 2023, https://arxiv.org/abs/2310.05914, algorithm 1.

    Args:
        embeddings: The table whose output gets the noise.
        alpha: Size of the noise.
    """

    def __init__(self, embeddings: nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self._lengths: Tensor | None = None
        embeddings.register_forward_hook(self._add)

    @contextmanager
    def over(self, lengths: Tensor | None) -> Iterator[None]:
        """Add noise to the next embeddings.

        Args:
            lengths: Length of each token's row, as the tokens are laid out; without it there is no noise.
        """
        self._lengths = lengths
        try:
            yield
        finally:
            self._lengths = None

    def _add(self, _: nn.Module, args: Any, vectors: Tensor) -> Tensor | None:
        if self._lengths is None:
            return None
        # Once: where one table serves encoder and decoder, what is written stays as it is.
        lengths, self._lengths = self._lengths, None
        size = self.alpha / (lengths.to(vectors.device) * vectors.shape[-1]).sqrt()  # (rows, length)
        noise = torch.empty_like(vectors).uniform_(-1, 1)
        return vectors + noise * size.unsqueeze(-1).to(vectors.dtype)


def noise_on(module: Any, alpha: float | None) -> EmbeddingNoise | None:
    """Return noise on what a Hugging Face model reads, None without any."""
    if not alpha:
        return None
    reader = module.get_encoder() if getattr(module.config, "is_encoder_decoder", False) else module
    return EmbeddingNoise(reader.get_input_embeddings(), alpha)


def lengths_of(mask: Tensor) -> Tensor:
    """Return the length of each token's row, ``float (rows, length)``, from where rows are real."""
    total = mask.sum(1, keepdim=True).clamp(min=1)
    return total.expand_as(mask).float()
