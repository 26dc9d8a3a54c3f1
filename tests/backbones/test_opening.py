import json
import shutil
from pathlib import Path

import pytest

from declarlm.backbones import open_backbone
from declarlm.core import ModelError


@pytest.fixture
def gpt2(copied, shared):
    """A Llama with the tokenizer of GPT-2, which has neither a pad token nor a start that it places."""
    ids = {"vocab_size": 50257, "bos_token_id": 50256, "eos_token_id": 50256}
    folder = copied(ids, name="gpt2")
    for name in ("generation_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shared / "models" / "tokenizers" / "gpt2" / name, folder / name)
    return folder


def test_a_small_llama_is_known_without_its_weights(stories):
    base = open_backbone(stories)
    assert (base.name, base.folder) == (stories, Path(stories))
    assert (base.context_length, base.bos_id, base.pad_id) == (512, 1, 0)
    assert base.pad_source == "the tokenizer's pad token"
    assert base.stop_ids == (2, 1)  # the end of a document first; its stories also end where the next one starts
    assert not base.has_chat_template


def test_a_start_that_the_tokenizer_does_not_place_is_none(gpt2, stories):
    base = open_backbone(str(gpt2))
    assert base.tokenizer.bos_token_id == 50256
    assert base.bos_id is None
    assert open_backbone(stories).tokenizer("One day").input_ids[0] == 1


def test_without_a_pad_token_the_end_stands_in_and_says_so(gpt2):
    base = open_backbone(str(gpt2))
    assert (base.pad_id, base.pad_source) == (50256, "the token that ends a document, as there is no pad token")
    assert base.stop_ids == (50256,)
    assert base.tokenizer.pad_token_id is None  # the tokenizer stays as it is


def test_a_turn_ends_at_the_familys_own_token(copied):
    folder = copied()
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    turn = {"id": 511, "content": "<|im_end|>", "special": True, "normalized": False}
    tokenizer["added_tokens"].append({**turn, "lstrip": False, "rstrip": False, "single_word": False})
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["<|im_end|>"] = vocabulary.pop(next(token for token, id_ in vocabulary.items() if id_ == 511))
    tokenizer["model"]["merges"] = [
        merge for merge in tokenizer["model"]["merges"] if "".join(merge).replace(" ", "") in vocabulary
    ]
    path.write_text(json.dumps(tokenizer))
    assert open_backbone(str(folder)).stop_ids == (2, 1, 511)


def test_ids_outside_the_vocabulary_are_not_used(copied):
    folder = copied({"pad_token_id": 999, "eos_token_id": 999})
    base = open_backbone(str(folder))
    assert (base.pad_id, base.stop_ids) == (0, (2, 1))


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({"max_position_embeddings": 256}, 256),
        ({"max_position_embeddings": 4096}, 512),  # the tokenizer's own limit
        ({"model_type": "roberta", "max_position_embeddings": 258, "pad_token_id": 1}, 256),
    ],
)
def test_the_context_length_is_the_smallest_limit(changes, length, copied):
    assert open_backbone(str(copied(changes))).context_length == length


def test_a_chat_template_is_seen(copied):
    folder = copied({"chat_template": "{{ messages }}"}, "tokenizer_config.json")
    assert open_backbone(str(folder)).has_chat_template


def test_the_fingerprint_follows_the_content(copied, stories):
    base = open_backbone(stories)
    same = open_backbone(str(copied(name="same")))
    other = copied(name="other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(bytes(weights))
    # The fixture writes config.json anew, so the two copies are compared.
    assert base.fingerprint == open_backbone(stories).fingerprint
    assert same.fingerprint != open_backbone(str(other)).fingerprint


def test_the_fingerprint_sees_every_byte_of_large_weights(copied, stories):
    folder = copied()
    weights = folder / "model.safetensors"
    with weights.open("ab") as file:
        file.write(bytes(1 << 24))
    before = open_backbone(str(folder)).fingerprint
    for place in range(1 << 23, 1 << 24, 999_983):
        with weights.open("rb+") as file:
            file.seek(place)
            file.write(b"\1")
        after = open_backbone(str(folder)).fingerprint
        assert after != before
        before = after


def test_an_unknown_architecture_is_named(copied):
    folder = copied({"model_type": "perceptron"})
    with pytest.raises(ModelError, match=r"config.json cannot be used: .*`perceptron`"):
        open_backbone(str(folder))


def test_a_folder_without_a_tokenizer_is_named(copied):
    folder = copied()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"copy has no usable tokenizer"):
        open_backbone(str(folder))
