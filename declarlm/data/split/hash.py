"""Hash split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core import param
from declarlm.data.columns import require
from declarlm.data.split.base import ShareSplit, splits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@splits.register("hash")
class HashSplit(ShareSplit):
    """Let the content of a column decide, so that a row stays in its part when the table grows or is sorted.

    The first 8 bytes of the BLAKE2b hash of the cell, salted with the seed, are a number between 0 and 1. Shares
    hold on average, not exactly.
    """

    class Config(ShareSplit.Config):
        column: str = param("Column that decides, such as an id; equal cells come into the same part.")

    def assign(self, table: pd.DataFrame, shares: Sequence[float], seed: int) -> np.ndarray[Any, Any]:
        import numpy as np
        import pandas as pd

        require(list(table.columns), [self.config.column], "preprocessing.split")
        codes, cells = pd.factorize(table[self.config.column].map(str, na_action="ignore"), use_na_sentinel=False)
        texts = ["" if missing else cell for cell, missing in zip(cells, pd.isna(cells), strict=True)]
        salt = seed.to_bytes(16, "little")
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8, salt=salt).digest() for text in texts)
        points = np.frombuffer(digests, dtype=">u8") / 2.0**64
        inner_borders = np.cumsum(shares)[:-1] / sum(shares)
        return np.searchsorted(inner_borders, points, side="right")[codes]
