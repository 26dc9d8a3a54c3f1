"""Token ids of a whole split in a memory-mapped folder: made once, read by every epoch and every run.

The store is a cache, found by the content it was made from. Its arrays are appended chunk by chunk, so a split
larger than memory can be encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.core.cache import cache_folder
from declarlm.core.files import atomic_folder, verify_folder
from declarlm.core.ragged import Ragged

if TYPE_CHECKING:
    import numpy as np

    from declarlm.prompts import EncodedRows

_DTYPES = {"ids": "<i4", "roles": "|u1", "fields": "|i1", "lengths": "<i4", "num_cut": "<i4", "num_left_out": "<i4"}


@dataclass(frozen=True, eq=False)
class TokenStore:
    """The encoded rows of one split.

    Attributes:
        ids: Token ids, int32.
        roles: Role of each token (``prompts.PROMPT``, ``ANSWER``, ``STOP``), uint8.
        fields: Output feature of each answer token, -1 elsewhere, int8.
        num_cut: Prompt tokens that each row lost because it was too long, int32 ``(rows,)``.
        num_left_out: Examples that each prompt lost for the same reason, int32 ``(rows,)``.
    """

    ids: Ragged
    roles: Ragged
    fields: Ragged
    num_cut: np.ndarray[Any, Any]
    num_left_out: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.ids)


def write_tokens(folder: Path, chunks: Iterable[EncodedRows]) -> TokenStore:
    """Write ``chunks`` one after another to ``folder``, whole or not at all, and open the result.

    Raises:
        DiskError: If the disk is full, broken or read-only.
    """
    import numpy as np

    with atomic_folder(folder, shared=True) as temporary:
        files = {name: (temporary / f"{name}.bin").open("wb") for name in _DTYPES}
        try:
            for chunk in chunks:
                arrays = {
                    "ids": chunk.ids.values,
                    "roles": chunk.roles.values,
                    "fields": chunk.fields.values,
                    "lengths": chunk.ids.lengths,
                    "num_cut": chunk.num_cut,
                    "num_left_out": chunk.num_left_out,
                }
                for name, values in arrays.items():
                    files[name].write(np.ascontiguousarray(values, dtype=_DTYPES[name]).data)
        finally:
            for file in files.values():
                file.close()
    return open_tokens(folder)


def open_tokens(folder: Path) -> TokenStore:
    """Map a store into memory; rows are read from the disk when they are first used."""
    import numpy as np

    def load(name: str) -> np.ndarray[Any, Any]:
        path = folder / f"{name}.bin"
        if path.stat().st_size == 0:  # An empty file cannot be mapped.
            return np.zeros(0, dtype=_DTYPES[name])
        return np.memmap(path, dtype=_DTYPES[name], mode="r")

    offsets = np.concatenate([[0], np.cumsum(load("lengths"), dtype=np.int64)])
    ids, roles, fields = (Ragged(load(name), offsets) for name in ("ids", "roles", "fields"))
    return TokenStore(ids, roles, fields, load("num_cut"), load("num_left_out"))


def cached_tokens(key: str, encode: Callable[[], Iterable[EncodedRows]]) -> TokenStore:
    """Return the store of ``key``, which must name all that its tokens depend on; encode only if there is none.

    A store that is incomplete or damaged is made again. The cache is ``$DECLARLM_CACHE``, by default
    ``~/.cache/declarlm``, and may be deleted at any time.

    Raises:
        DiskError: If the disk is full, broken or read-only.
    """
    folder = cache_folder() / "tokens" / key
    if verify_folder(folder):
        return open_tokens(folder)
    return write_tokens(folder, encode())
