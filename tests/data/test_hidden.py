import shutil

import numpy as np
import pytest
import torch

from declarlm.core.cache import cache_folder
from declarlm.core.files import verify_folder
from declarlm.data import hidden
from declarlm.data.hidden import VECTORS, hidden_store
from declarlm.encoders import encoders

TEXTS = ["Once upon a time", "a cat", "Once upon a time", "The end", "a cat"]


@pytest.fixture
def frozen(stories, monkeypatch):
    monkeypatch.setattr(hidden, "KEPT_FROM", 1)
    encoder = encoders["auto_transformer"].Config(pretrained_model_name_or_path=stories).build().fit(TEXTS)
    return encoder, encoder.build()


def count_calls(module):
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_each_different_row_is_computed_once_and_kept(frozen):
    encoder, module = frozen
    rows = encoder.transform(TEXTS)
    store = hidden_store(encoder, module, rows, {})
    assert store.vectors.shape == (3, module.width)
    assert isinstance(store.vectors, np.memmap)
    alone = np.stack([module(**encoder.collate(rows.take([row]))).pooled[0].numpy() for row in range(len(rows))])
    np.testing.assert_allclose(store.take(np.arange(5)), alone, rtol=1e-5, atol=5e-6)
    calls = count_calls(module)
    again = hidden_store(encoder, module, rows, {})
    assert not calls
    np.testing.assert_array_equal(again.take(np.array([4, 0])), store.take(np.array([4, 0])))


def test_other_rows_settings_or_weights_are_other_vectors(frozen, stories):
    encoder, module = frozen
    hidden_store(encoder, module, encoder.transform(TEXTS), {})
    calls = count_calls(module)
    hidden_store(encoder, module, encoder.transform(TEXTS[:2]), {})
    assert len(calls) == 1
    maximum = encoder.config.replace(reduce_output="max").build(encoder.state)
    hidden_store(maximum, maximum.build(), encoder.transform(TEXTS), {})
    random = encoder.config.replace(use_pretrained=False).build(encoder.state)
    hidden_store(random, random.build(), encoder.transform(TEXTS), {})
    assert len(list((cache_folder() / "hidden").iterdir())) == 4


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_store_is_made_again(frozen, damage):
    encoder, module = frozen
    rows = encoder.transform(TEXTS)
    whole = hidden_store(encoder, module, rows, {}).take(np.arange(5))
    (folder,) = (cache_folder() / "hidden").iterdir()
    path = folder / VECTORS
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        data[-3] ^= 255
        path.write_bytes(data if damage == "flip" else data[:-8])
    assert not verify_folder(folder)
    np.testing.assert_array_equal(hidden_store(encoder, module, rows, {}).take(np.arange(5)), whole)
    assert verify_folder(folder)


def test_nothing_is_left_behind_when_computing_fails(frozen):
    encoder, module = frozen
    module.body.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hidden_store(encoder, module, encoder.transform(TEXTS), {})
    assert list((cache_folder() / "hidden").iterdir()) == []


def test_a_few_rows_leave_nothing_on_the_disk(frozen, monkeypatch):
    encoder, module = frozen
    rows = encoder.transform(TEXTS)
    kept = hidden_store(encoder, module, rows, {}).take(np.arange(5))
    shutil.rmtree(cache_folder())
    monkeypatch.setattr(hidden, "KEPT_FROM", 4)
    np.testing.assert_array_equal(hidden_store(encoder, module, rows, {}).take(np.arange(5)), kept)
    assert not cache_folder().exists()


def test_vectors_are_the_same_in_a_training_in_bf16(frozen):
    encoder, module = frozen
    rows = encoder.transform(TEXTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = hidden_store(encoder, module, rows, {}).take(np.arange(5))
    shutil.rmtree(cache_folder())
    np.testing.assert_array_equal(found, hidden_store(encoder, module, rows, {}).take(np.arange(5)))


def test_the_last_row_sets_stay_in_memory(frozen, monkeypatch):
    encoder, module = frozen
    monkeypatch.setattr(hidden, "REMEMBERED", 1)
    recent: dict[str, np.ndarray] = {}
    calls = count_calls(module)
    for texts in (TEXTS, TEXTS, TEXTS[:1]):
        hidden_store(encoder, module, encoder.transform(texts), recent)
    assert len(calls) == 2
    assert [len(vectors) for vectors in recent.values()] == [1]


def test_the_module_keeps_its_mode(frozen):
    encoder, module = frozen
    module.train()
    hidden_store(encoder, module, encoder.transform(TEXTS), {})
    assert module.training
