import pytest
import torch

from declarlm.backbones import Architecture, from_scratch, open_backbone
from declarlm.core import ConfigError, DataError

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Zoë paid 42 euro in 2024.", "the the the fox fox"] * 5
SMALL = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "context_length": 64, "tokenizer": {"vocab_size": 300}}


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "gpt_neox"])
def test_a_new_base_opens_like_any_other(kind, tmp_path):
    architecture = Architecture.load({**SMALL, "type": kind})
    base = from_scratch(architecture, TEXTS, seed=0, folder=tmp_path / "base")
    assert (base.context_length, base.bos_id, base.stop_ids, base.pad_id) == (64, 0, (1,), 2)
    model = base.load_causal()
    assert (model.config.model_type, model.config.vocab_size) == (kind, len(base.tokenizer))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model(torch.tensor([base.tokenizer("the fox").input_ids])).logits.isfinite().all()


def test_every_text_survives_the_tokenizer(tmp_path):
    tokenizer = from_scratch(Architecture.load(SMALL), TEXTS, seed=0, folder=tmp_path / "base").tokenizer
    generator = torch.Generator().manual_seed(0)
    points = torch.randint(1, 0x11000, (200, 20), generator=generator)
    texts = ["".join(chr(point) for point in row if not 0xD800 <= point < 0xE000) for row in points.tolist()]
    for text in [*texts, "", " ", "  two\t\n ", "<|end|> is text", "12:30:45", "a\u0301\u200d\U0001f469"]:
        ids = tokenizer(text, split_special_tokens=True).input_ids
        assert ids[0] == 0
        assert tokenizer.decode(ids[1:]) == text


def test_frequent_words_become_one_token_and_numbers_stay_digits(tmp_path):
    tokenizer = from_scratch(Architecture.load(SMALL), TEXTS, seed=0, folder=tmp_path / "base").tokenizer
    assert [tokenizer.decode([id_]) for id_ in tokenizer("the fox 42").input_ids[1:]] == ["the", " fox", " ", "4", "2"]


def test_the_same_seed_makes_the_same_base(tmp_path):
    architecture = Architecture.load(SMALL)
    prints = {}
    for name, seed in (("first", 0), ("second", 0), ("third", 1)):
        torch.manual_seed(sum(map(ord, name)))
        state = torch.get_rng_state()
        prints[name] = from_scratch(architecture, iter(TEXTS), seed, tmp_path / name).fingerprint
        assert torch.equal(torch.get_rng_state(), state)
    assert prints["first"] == prints["second"] != prints["third"]


def test_a_finished_tokenizer_can_be_taken(stories, tmp_path):
    base = from_scratch(
        Architecture.load({**SMALL, "tokenizer": {"path": stories}}), [], seed=0, folder=tmp_path / "base"
    )
    assert base.tokenizer("Once").input_ids == open_backbone(stories).tokenizer("Once").input_ids
    assert (base.config.vocab_size, base.context_length) == (512, 64)


def test_no_text_is_an_error_in_the_data(tmp_path):
    with pytest.raises(DataError) as caught:
        from_scratch(Architecture.load(SMALL), [], seed=0, folder=tmp_path / "base")
    assert str(caught.value) == ("there is no text to train the tokenizer on; check the text column and preprocessing")


def test_a_shape_that_cannot_be_built_is_a_config_error():
    with pytest.raises(ConfigError) as caught:
        Architecture.load({"hidden_size": 100, "num_heads": 8, "num_kv_heads": 3, "type": "lama"})
    assert str(caught.value).splitlines() == [
        "config: type: cannot be 'lama' (did you mean 'llama'?), choose from: gpt_neox, llama, mistral, qwen3",
        "config: hidden_size: must be a multiple of twice num_heads (16), got 100",
        "config: num_kv_heads: must divide num_heads (8), got 3",
    ]


def test_the_section_survives_a_round_trip():
    for data in (SMALL, {"tokenizer": {"path": "starter"}}, {}):
        section = Architecture.load(data)
        assert Architecture.load(section.dump()) == section
