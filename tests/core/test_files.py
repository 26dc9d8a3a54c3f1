"""Files are written whole or not at all, whatever interrupts the writing."""

from __future__ import annotations

import errno
import io
import json
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from declarlm.core import DiskError, LockedError, RunError
from declarlm.core.files import (
    append_json_line,
    atomic_file,
    atomic_folder,
    lock,
    read_json,
    read_json_lines,
    remove_leftovers,
    verify_folder,
    write_bytes,
    write_json,
    write_text,
)

FINISHED, SURVIVED, FAILED, KILLED = 0, 5, 6, 77


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the real disk, whose loss of power no test can show anyway."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def interrupted(action: Callable[[], Any], at: int, how: int | str) -> int:
    """Run an action in a process of its own, whose ``at``-th operation on the disk fails or is its last.

    Half of the bytes of a write that fails are written. Returns what became of the process.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            if isinstance(how, str):
                os._exit(KILLED)
            raise OSError(how, os.strerror(how))

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            step()
            return function(*args, **kwargs)

        return call

    class Torn:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.file = opened(*args, **kwargs)

        def write(self, data: bytes) -> int:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            step()
            return int(self.file.write(data[len(data) // 2 :]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Torn:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    opened = io.open
    io.open = watched(Torn)  # type: ignore[assignment]
    for name in ("open", "fsync", "replace", "rename", "mkdir"):
        setattr(os, name, watched(getattr(os, name)))
    code = 1
    try:
        action()
        code = FINISHED if count < at else SURVIVED
    except DiskError:
        code = FAILED
    finally:
        os._exit(code)


def every_interruption(action: Callable[[], Any], prepare: Callable[[], Any]) -> Iterator[int]:
    """Interrupt an action at each of its operations, in each way, from the same start; yield each end."""
    for how in (errno.ENOSPC, errno.EIO, "killed"):
        for at in range(1, 100):
            prepare()
            end = interrupted(action, at, how)
            if end == FINISHED:
                break
            assert end == KILLED if how == "killed" else end in (FAILED, SURVIVED)
            yield end


@pytest.mark.usefixtures("no_sync")
def test_interrupted_file_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "config.json"
    for end in every_interruption(lambda: write_json(path, {"new": 1}), lambda: write_json(path, {"old": 1})):
        assert read_json(path) in ({"old": 1}, {"new": 1})
        if end == FAILED:
            assert names(tmp_path) == ["config.json"]
        remove_leftovers(tmp_path)
        assert names(tmp_path) == ["config.json"]


def fill(path: Path, text: str) -> None:
    with atomic_folder(path) as folder:
        (folder / "inner").mkdir()
        with (folder / "inner" / "weights").open("wb") as file:
            file.write(text.encode())
        write_text(folder / "name", text)


@pytest.mark.usefixtures("no_sync")
def test_interrupted_folder_is_missing_or_whole(tmp_path):
    path = tmp_path / "checkpoint"

    def prepare() -> None:
        for name in names(tmp_path):
            (tmp_path / name).rename(tmp_path.parent / f"done-{os.urandom(4).hex()}")

    for end in every_interruption(lambda: fill(path, "new"), prepare):
        if path.exists():
            assert verify_folder(path)
            assert (path / "inner" / "weights").read_text() == "new"
        if end == FAILED:
            assert names(tmp_path) in ([], ["checkpoint"])
        remove_leftovers(tmp_path)
        assert names(tmp_path) in ([], ["checkpoint"])


@pytest.mark.usefixtures("no_sync")
def test_interrupted_replacement_of_a_folder_is_the_old_the_new_or_none(tmp_path):
    path = tmp_path / "model"
    seen = set()
    for end in every_interruption(lambda: fill(path, "new"), lambda: fill(path, "old")):
        found = (path / "name").read_text() if path.exists() else "none"
        seen.add((end, found))
        assert found == "none" or verify_folder(path)
        remove_leftovers(tmp_path)
    seen.discard((SURVIVED, "new"))
    assert seen == {(FAILED, "old"), (FAILED, "new"), (KILLED, "old"), (KILLED, "none"), (KILLED, "new")}


def test_interrupted_line_does_not_spoil_the_others(tmp_path):
    path = tmp_path / "metrics.jsonl"

    def prepare() -> None:
        path.unlink(missing_ok=True)
        append_json_line(path, {"step": 1})

    for how in (errno.ENOSPC, "killed"):
        for at in (1, 2, 3):
            prepare()
            interrupted(lambda: append_json_line(path, {"step": 2}), at, how)
            before = read_json_lines(path)
            append_json_line(path, {"step": 3})
            assert before in ([{"step": 1}], [{"step": 1}, {"step": 2}])
            assert read_json_lines(path) == [*before, {"step": 3}]


def test_full_disk_is_reported_whoever_writes(tmp_path):
    program = f"""
import resource, signal, sys
from pathlib import Path
import numpy, pandas, safetensors.numpy
from declarlm.core import DiskError
from declarlm.core.files import atomic_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
table = pandas.DataFrame({{"a": numpy.arange(100_000.0)}})
writers = [
    lambda path: numpy.save(path.open("wb"), table.to_numpy()),
    lambda path: safetensors.numpy.save_file({{"a": table.to_numpy()}}, path),
    lambda path: table.to_csv(path),
    lambda path: table.to_parquet(path),
]
for writer in writers:
    try:
        with atomic_file(Path({str(tmp_path / "a.file")!r})) as path:
            writer(path)
    except DiskError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    printed = result.stdout.splitlines()
    assert len(printed) == 4, result.stderr
    assert all(line.startswith(f"{tmp_path}/a.file cannot be written: ") for line in printed)
    assert names(tmp_path) == []


def test_remedy_of_a_full_disk(tmp_path):
    with pytest.raises(DiskError) as caught, atomic_file(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (
        str(caught.value) == f"{tmp_path}/a cannot be written: No space left on device; free some space and try again"
    )


def test_other_errors_pass_and_leave_nothing_behind(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "a"):
        (tmp_path / "missing").read_text()
    with pytest.raises(KeyError), atomic_file(tmp_path / "a") as temporary:
        {}[temporary.write_text("half")]
    assert names(tmp_path) == []


def test_folders_on_the_way_are_made(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "c", b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "name").write_text("other"),
        lambda folder: (folder / "name").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: (folder / "manifest.json").write_text('{"../outside": {"size": 1, "sha256": "x"}}'),
        lambda folder: (folder / "inner" / "weights").write_bytes(b"neW"),
    ],
)
def test_damaged_folder_is_noticed(damage, tmp_path):
    fill(tmp_path / "model", "new")
    assert verify_folder(tmp_path / "model")
    damage(tmp_path / "model")
    assert not verify_folder(tmp_path / "model")


def test_file_that_a_person_adds_does_no_harm(tmp_path):
    fill(tmp_path / "model", "new")
    (tmp_path / "model" / "notes.txt").write_text("good one")
    assert verify_folder(tmp_path / "model")


def make_shared_folders(parent: Path, barrier: Any, failures: Any) -> None:
    for number in range(60):
        barrier.wait(timeout=60)
        folder = parent / str(number)
        try:
            if not verify_folder(folder):
                with atomic_folder(folder, shared=True) as temporary:
                    (temporary / "data").write_bytes(b"x" * 10)
            assert verify_folder(folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
            failures.put(f"{type(error).__name__}: {error}")


def test_processes_that_make_the_same_folder_do_not_disturb_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, failures = context.Barrier(3), context.Queue()
    workers = [context.Process(target=make_shared_folders, args=(tmp_path, barrier, failures)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert failures.empty()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, range(60)))


def test_a_damaged_shared_folder_is_made_again(tmp_path):
    folder = tmp_path / "entry"
    for content in (b"old", b"new"):
        with atomic_folder(folder, shared=True) as temporary:
            (temporary / "data").write_bytes(content)
    assert (folder / "data").read_bytes() == b"old"
    (folder / "data").write_bytes(b"bad")
    with atomic_folder(folder, shared=True) as temporary:
        (temporary / "data").write_bytes(b"new")
    assert (folder / "data").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_folder_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty", "new")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError) as caught:
        fill(tmp_path / "own", "new")
    expected = f"{tmp_path}/own exists and was not written by Declarlm; choose another name, or remove it"
    assert str(caught.value) == expected
    assert names(tmp_path / "own") == ["thesis.txt"]


def test_missing_folder_is_not_whole(tmp_path):
    assert not verify_folder(tmp_path / "model")


def test_manifest_names_size_and_hash(tmp_path):
    fill(tmp_path / "model", "new")
    sha256 = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"  # printf new | sha256sum
    entry = {"size": 3, "sha256": sha256}
    assert read_json(tmp_path / "model" / "manifest.json") == {"inner/weights": entry, "name": entry}


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"loss": math.nan, "bounds": (-math.inf, 1.5), "name": "Zoë"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"loss": None, "bounds": [None, 1.5], "name": "Zoë"}


def test_damaged_json_is_named(tmp_path):
    with pytest.raises(RunError, match=r"a\.json is missing"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RunError, match=r"a\.json is damaged: Expecting property name"):
        read_json(tmp_path / "a.json")


def test_damaged_line_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n{\n{}\n")
    with pytest.raises(RunError, match=r"a\.jsonl is damaged: Expecting property name"):
        read_json_lines(tmp_path / "a.jsonl")


def test_no_lines_yet():
    assert read_json_lines(Path("missing.jsonl")) == []


def test_lock_is_held_by_one_process_and_freed_when_it_dies(tmp_path):
    path = tmp_path / "run" / "LOCK"
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom declarlm.core.files import lock\n"
        f"with lock(Path({str(path)!r})):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError) as caught, lock(path):
            pass
        expected = f"{tmp_path}/run is in use by process {holder.pid}; wait until it ends, or stop it"
        assert str(caught.value) == expected
        holder.kill()
        holder.wait()
    with lock(path):
        assert path.read_text() == str(os.getpid())
    with lock(path):
        pass
