import hashlib
import os
from pathlib import Path

import pytest

from declarlm.core import cache
from declarlm.core.cache import cache_folder, file_digest


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is large and old enough to be remembered."""
    monkeypatch.setattr(cache, "_REMEMBERED_FROM", 8)
    monkeypatch.setattr(cache, "_SETTLED", 0)
    path = tmp_path / "weights"
    path.write_bytes(b"0123456789")
    return path


def remembered() -> list[Path]:
    return sorted((cache_folder() / "digests").glob("*"))


def test_a_digest_is_the_sha256_of_the_content(large):
    assert file_digest(large) == file_digest(large) == hashlib.sha256(b"0123456789").hexdigest()


def test_an_untouched_file_is_not_read_again(large, tmp_path):
    file_digest(large)
    (memory,) = remembered()
    memory.write_text("f" * 64)
    assert file_digest(large) == "f" * 64
    (tmp_path / "link").symlink_to(large)
    assert file_digest(tmp_path / "link") == "f" * 64


def test_a_touched_file_is_read_again(large):
    before = file_digest(large)
    status = large.stat()
    large.write_bytes(b"1123456789")
    os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a copy with its old time does
    assert file_digest(large) == hashlib.sha256(b"1123456789").hexdigest() != before
    other = large.with_name("other")
    other.write_bytes(b"2123456789")
    other.replace(large)
    assert file_digest(large) == hashlib.sha256(b"2123456789").hexdigest()


def test_a_damaged_memory_is_made_again(large):
    expected = file_digest(large)
    (memory,) = remembered()
    memory.write_text("")
    assert file_digest(large) == expected


def test_a_file_that_may_still_change_is_not_remembered(large, monkeypatch):
    monkeypatch.setattr(cache, "_SETTLED", 2_000_000_000)
    file_digest(large)
    assert remembered() == []


def test_a_cache_that_cannot_be_written_is_done_without(large, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("DECLARLM_CACHE", str(tmp_path / "file"))
    assert file_digest(large) == hashlib.sha256(b"0123456789").hexdigest()
