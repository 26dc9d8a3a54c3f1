"""The libraries under a backbone, made quiet and kept from fetching code, before they are imported."""

from __future__ import annotations

import os
import sys
from functools import cache

from declarlm.core.terminal import quiet_libraries


@cache
def import_libraries() -> None:
    """Import transformers and bitsandbytes so that neither takes native kernels from the Hub.

    Where the package ``kernels`` is installed, transformers downloads some when a model is built, and bitsandbytes,
    which PEFT imports in any case, one at its import: code that nobody asked for.
    """
    os.environ.setdefault("USE_HUB_KERNELS", "NO")
    quiet_libraries()
    present = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        import bitsandbytes  # noqa: F401
    finally:
        del sys.modules["kernels"]
        if present is not None:
            sys.modules["kernels"] = present


def reason(error: BaseException) -> str:
    """Return the beginning of what a library says, in one line: some of them list every weight."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
