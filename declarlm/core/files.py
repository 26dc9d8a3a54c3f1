"""The one place that writes: whole or not at all, whatever interrupts it.

A file is written beside its place, synced and renamed; a folder likewise, with a manifest of sizes and hashes
that is written last. So a crash leaves the old state or the new one, and at worst a hidden ``.*.tmp`` beside it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from declarlm.core.errors import DiskError, LockedError, RunError

MANIFEST = "manifest.json"
_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EEXIST, errno.ENOTDIR),
}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; the file takes its place when the block ends well.

    Raises:
        DiskError: If the disk is full, broken or read-only.
    """
    with _reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; it takes its place, with a manifest, when the block ends well.

    A folder that was written so is replaced. That takes two renames, so who must find the old or the new one after
    a crash between them gives each version a name of its own, as checkpoints do.

    Args:
        path: Where the folder goes.
        shared: Whether other processes may make the same folder, with the same content: a whole one is then kept,
            whoever made it, so that nobody who has found it loses it.

    Raises:
        DiskError: If the disk is full, broken or read-only.
        RunError: If there is something at ``path`` that was not written so, which would be lost.
    """
    if path.exists() and not (path / MANIFEST).is_file() and (path.is_file() or any(path.iterdir())):
        raise RunError(f"{path} exists and was not written by Declarlm; choose another name, or remove it")
    with _reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        temporary.mkdir()
        try:
            yield temporary
            write_json(temporary / MANIFEST, {name: _entry(temporary / name) for name in _sync_tree(temporary)})
            _publish(temporary, path, shared=shared)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _publish(temporary: Path, path: Path, *, shared: bool) -> None:
    """Put a finished folder in its place, and delete the one that was there."""
    retired = _beside(path)
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if shared and verify_folder(path):
            shutil.rmtree(temporary)
            return
        with suppress(FileNotFoundError):  # Another process has just done it.
            path.rename(retired)
        try:
            temporary.rename(path)
        except OSError:
            if retired.exists():
                retired.rename(path)
            raise
    _sync(path.parent)
    shutil.rmtree(retired, ignore_errors=True)


def verify_folder(path: Path) -> bool:
    """Return whether every file that the folder's manifest lists is there, unchanged."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        return all(_inside(name) and _entry(path / name) == entry for name, entry in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def unlisted(path: Path) -> list[str]:
    """Return the files of a folder that its manifest does not list, hidden ones aside."""
    listed = {MANIFEST, *json.loads((path / MANIFEST).read_bytes())}
    names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    return sorted(name for name in names if name not in listed and not Path(name).name.startswith("."))


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left in ``folder``; only for who holds its lock."""
    for leftover in folder.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file, whole or not at all; NaN and infinities, which JSON lacks, become null."""
    write_text(path, json.dumps(finite(data), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return what a JSON file of a run holds.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None


def append_json_line(path: Path, record: Any) -> None:
    """Append one line to a JSON Lines file; a last line that a crash cut short is removed first."""
    line = json.dumps(finite(record), ensure_ascii=False, allow_nan=False) + "\n"
    with _reporting(path), path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode("utf-8"))


def read_json_lines(path: Path) -> list[Any]:
    """Return the records of a JSON Lines file, without a last line that a crash cut short.

    Raises:
        RunError: If another line is damaged.
    """
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for the length of the block; the system frees it if the process dies.

    Raises:
        LockedError: If another process holds it.
    """
    import fcntl

    with _reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = f"process {file.read()}".strip()
            raise LockedError(f"{path.parent} is in use by {holder}; wait until it ends, or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a disk into a ``DiskError``."""
    try:
        yield
    except _write_errors() as error:
        number = _number(error)
        if number not in _DISK_ERRORS:
            raise
        remedy = "; free some space and try again" if number in _FULL else ""
        raise DiskError(f"{path} cannot be written: {os.strerror(number)}{remedy}") from error


def _write_errors() -> tuple[type[Exception], ...]:
    """Return what libraries raise when a write fails."""
    safetensors = sys.modules.get("safetensors")
    return (OSError, safetensors.SafetensorError) if safetensors else (OSError,)


def _number(error: Exception) -> int:
    """Return the system's number of an error, which some libraries give in words only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if found := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors
        return int(found[1])
    return errno.ENOSPC if re.search(r"\d+ requested and \d+ written", str(error)) else 0  # numpy


def _beside(path: Path) -> Path:
    """Return a name for a temporary file or folder on the same disk as ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> list[str]:
    """Sync all that is in a folder and return the names of its files, relative to it."""
    paths = sorted(folder.rglob("*"))
    for path in paths:
        _sync(path)
    return [path.relative_to(folder).as_posix() for path in paths if path.is_file()]


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"size": file.tell(), "sha256": digest.hexdigest()}


def _inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def finite(data: Any) -> Any:
    """Return plain data with null for NaN and infinities, which JSON lacks."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
