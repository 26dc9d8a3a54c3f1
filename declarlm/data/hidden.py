"""Vectors of a frozen encoder: computed once for each different row, kept on disk, found by content.

A frozen encoder gives the same vector for the same row in every epoch, trial and run, so the store is a cache: its
key names the weights, the settings and the rows, and it may be deleted at any time. It is float32 whatever the
precision of the training that first needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.core.batching import in_batches
from declarlm.core.cache import cache_folder
from declarlm.core.files import atomic_folder, verify_folder
from declarlm.core.ragged import Ragged
from declarlm.encoders.base import Encoder

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

VECTORS = "vectors.npy"
# Tokens that go through an encoder at once. Measured on one core with MiniLM: 512 and 1024 are equal, 2048 is 10 %
# slower, 8192 60 %, as the states no longer fit the cache.
TOKENS_ON_CPU, TOKENS_ON_GPU = 1024, 32768
# Fewer rows, such as those of one request to a server, are not worth a folder.
KEPT_FROM = 64
REMEMBERED = 8  # sets of rows whose vectors are found again without looking at the disk
FORMAT = "2 float32"


@dataclass(frozen=True, eq=False)
class HiddenStore:
    """The pooled vectors of some rows.

    Attributes:
        vectors: One vector for each different row, ``float32 (different rows, width)``, on disk if many.
        index: Which vector each row has, ``int64 (rows,)``.
    """

    vectors: np.ndarray[Any, Any]
    index: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the vectors of the given rows, ``float32 (len(rows), width)``."""
        import numpy as np

        return np.ascontiguousarray(self.vectors[self.index[rows]])


def hidden_store(
    encoder: Encoder, module: nn.Module, rows: Ragged, recent: MutableMapping[str, np.ndarray[Any, Any]]
) -> HiddenStore:
    """Return the vectors that a frozen encoder's module gives for ``rows``, computing only what is not cached.

    A cached store that is incomplete or damaged is made again; one of few rows stays in memory.

    Args:
        encoder: The encoder, whose vectors never change.
        module: What it built.
        rows: Rows as the encoder transformed them.
        recent: The last vectors by their key, which an evaluation after each epoch needs again; kept up to date.

    Raises:
        DiskError: If the disk is full, broken or read-only.
    """
    index, different = _different(rows)
    key = _key(encoder.fingerprint(module), different)
    if key not in recent:
        vectors = _vectors(encoder, module, different, key)
        while len(recent) >= REMEMBERED:
            del recent[next(iter(recent))]
        recent[key] = vectors
    return HiddenStore(recent[key], index)


def _vectors(encoder: Encoder, module: nn.Module, different: Ragged, key: str) -> np.ndarray[Any, Any]:
    """Return the vector of each row, from the disk if they are there."""
    import numpy as np

    shape = (len(different), int(module.width))  # type: ignore[arg-type]
    if len(different) < KEPT_FROM:
        vectors = np.zeros(shape, dtype=np.float32)
        compute(encoder, module, different, vectors)
        return vectors
    folder = cache_folder() / "hidden" / key
    if not verify_folder(folder):
        with atomic_folder(folder, shared=True) as temporary:
            out = np.lib.format.open_memmap(temporary / VECTORS, mode="w+", dtype=np.float32, shape=shape)
            compute(encoder, module, different, out)
            out.flush()
    kept: np.ndarray[Any, Any] = np.load(folder / VECTORS, mmap_mode="r")
    return kept


def compute(encoder: Encoder, module: nn.Module, rows: Ragged, out: np.ndarray[Any, Any]) -> None:
    """Write the vector of each row to ``out``, ``float32 (rows, width)``; rows of like length go together."""
    import torch

    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    was_training = module.training

    def run(batch: np.ndarray[Any, Any]) -> None:
        inputs = {name: values.to(device) for name, values in encoder.collate(rows.take(batch)).items()}
        out[batch] = module(**inputs).pooled.float().cpu().numpy()

    module.eval()
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        in_batches(rows.lengths, device, run, token_budget(device))
    module.train(was_training)


def token_budget(device: torch.device) -> int:
    """Return how many tokens, with padding, are computed at once where no gradient is wanted."""
    return TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU


def _different(rows: Ragged) -> tuple[np.ndarray[Any, Any], Ragged]:
    """Return which different row each row is, and the different rows."""
    import numpy as np

    places: dict[bytes, int] = {}
    index = np.array([places.setdefault(row.tobytes(), len(places)) for row in rows], dtype=np.int64)
    first = np.unique(index, return_index=True)[1]
    return index, rows.take(first)


def _key(fingerprint: str, rows: Ragged) -> str:
    digest = hashlib.sha256(f"{FORMAT} {fingerprint}".encode())
    digest.update(rows.offsets.tobytes())
    digest.update(rows.values.tobytes())
    return digest.hexdigest()
