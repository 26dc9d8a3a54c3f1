"""The cache: where it lies, and the hashes of files that it remembers, so that a large one is read once."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from declarlm.core.errors import DiskError
from declarlm.core.files import write_text

_REMEMBERED_FROM = 1 << 22  # bytes; what is smaller is read faster than looked up on some disks
_SETTLED = 2_000_000_000  # nanoseconds since the last change; within a tick of the clock a second one may follow


def cache_folder() -> Path:
    """Return where everything lies that can be made again: ``$DECLARLM_CACHE``, or ``~/.cache/declarlm``."""
    return Path(os.environ.get("DECLARLM_CACHE", "~/.cache/declarlm")).expanduser()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, from memory if it has not been touched since."""
    path = path.resolve()
    status = path.stat()
    touched = max(status.st_mtime_ns, status.st_ctime_ns)
    identity = f"{path}\n{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_dev} {status.st_ino}"
    memory = cache_folder() / "digests" / hashlib.sha256(identity.encode()).hexdigest()
    if status.st_size >= _REMEMBERED_FROM:
        with suppress(OSError):
            known = memory.read_text(encoding="ascii")
            if len(known) == hashlib.sha256().digest_size * 2:
                return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if status.st_size >= _REMEMBERED_FROM and time.time_ns() - touched > _SETTLED:
        with suppress(DiskError):  # a cache that cannot be written costs time only
            write_text(memory, digest)
    return digest
