"""The token store: what goes in comes out, in memory or not, and damage is repaired."""

from dataclasses import dataclass

import numpy as np
import pytest

from declarlm.core.ragged import Ragged
from declarlm.data.token_store import cached_tokens, open_tokens, write_tokens


@dataclass
class Chunk:
    ids: Ragged
    roles: Ragged
    fields: Ragged
    num_cut: np.ndarray
    num_left_out: np.ndarray


def chunk(*rows, cut=0):
    ids = Ragged.from_rows(rows)
    roles = Ragged(np.arange(len(ids.values), dtype="uint8") % 3, ids.offsets)
    fields = Ragged(np.full(len(ids.values), -1, dtype="int8"), ids.offsets)
    return Chunk(ids, roles, fields, np.full(len(rows), cut), np.full(len(rows), 2 * cut))


def test_chunks_come_back_as_one_table(tmp_path):
    store = write_tokens(tmp_path / "store", iter([chunk([1, 2, 3], [70_000]), chunk([], [5, 6], cut=4)]))
    assert [row.tolist() for row in store.ids] == [[1, 2, 3], [70_000], [], [5, 6]]
    assert [row.tolist() for row in store.roles] == [[0, 1, 2], [0], [], [0, 1]]
    assert store.fields[0].tolist() == [-1, -1, -1]
    assert store.num_cut.tolist() == [0, 0, 4, 4]
    assert store.num_left_out.tolist() == [0, 0, 8, 8]
    assert isinstance(store.ids.values, np.memmap)
    assert len(store) == 4


def test_a_store_may_be_empty(tmp_path):
    store = write_tokens(tmp_path / "store", [])
    assert len(store) == 0
    assert store.ids.lengths.tolist() == []


def test_tokens_are_encoded_once_for_a_key():
    calls = []

    def encode():
        calls.append(1)
        yield chunk([1, 2])

    assert cached_tokens("abc", encode).ids[0].tolist() == cached_tokens("abc", encode).ids[0].tolist() == [1, 2]
    assert len(calls) == 1
    cached_tokens("abd", encode)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["change", "shorten", "remove"])
def test_a_damaged_store_is_made_again(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("DECLARLM_CACHE", str(tmp_path))
    cached_tokens("abc", lambda: [chunk([1, 2, 3])])
    file = tmp_path / "tokens" / "abc" / "ids.bin"
    if damage == "remove":
        file.unlink()
    else:
        data = file.read_bytes()
        file.write_bytes(data[:-4] if damage == "shorten" else data[:-1] + b"\x07")
    assert cached_tokens("abc", lambda: [chunk([4, 5])]).ids[0].tolist() == [4, 5]


def test_a_failed_encoding_leaves_nothing_behind(tmp_path):
    def encode():
        yield chunk([1])
        raise ValueError("bad row")

    with pytest.raises(ValueError, match="bad row"):
        write_tokens(tmp_path / "store", encode())
    assert list(tmp_path.iterdir()) == []


def test_a_store_outlives_the_one_that_replaces_it(tmp_path):
    first = write_tokens(tmp_path / "store", [chunk([1, 2])])
    with (tmp_path / "store" / "num_cut.bin").open("ab") as file:
        file.write(b"damage")
    write_tokens(tmp_path / "store", [chunk([3])])
    assert first.ids[0].tolist() == [1, 2]
    assert open_tokens(tmp_path / "store").ids[0].tolist() == [3]
