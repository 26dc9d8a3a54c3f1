import numpy as np
import pytest
import torch
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from declarlm.core import ConfigError
from declarlm.encoders import encoders

TEXTS = ["the film was good, very good", "the food was bad", "a film", "", "not a good food film the was"]
SCRATCH = ["embed", "parallel_cnn", "tf_idf", "transformer"]


def built(name, **settings):
    torch.manual_seed(0)
    encoder = encoders[name].Config.load(settings).build().fit(TEXTS)
    return encoder, encoder.build().eval()


def hidden(encoder, module, texts):
    return module(**encoder.collate(encoder.transform(texts)))


@pytest.mark.parametrize("name", SCRATCH)
def test_a_row_has_the_same_vector_alone_and_beside_others(name):
    encoder, module = built(name)
    together = hidden(encoder, module, TEXTS).pooled
    assert together.shape == (len(TEXTS), module.width)
    for text, vector in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(hidden(encoder, module, [text]).pooled[0], vector, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCRATCH)
def test_every_weight_of_an_encoder_trains(name):
    encoder, module = built(name)
    module.train()
    hidden(encoder, module, TEXTS).pooled.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in module.parameters())


@pytest.mark.parametrize("name", SCRATCH)
def test_an_encoder_survives_saving(name, tmp_path):
    encoder, module = built(name)
    encoder.save(module, tmp_path)
    restored = encoders[name].Config().build(encoder.State.load(encoder.state.dump()))
    loaded = restored.load(tmp_path).eval()
    torch.testing.assert_close(hidden(restored, loaded, TEXTS).pooled, hidden(encoder, module, TEXTS).pooled)


def test_words_that_occur_once_are_unknown_and_the_order_is_by_frequency():
    encoder, _ = built("embed")
    assert encoder.state.words == ["film", "good", "the", "was", "a", "food"]
    assert [row.tolist() for row in encoder.transform(["The GOOD plot", ""])] == [[3, 2, 0], [0]]


def test_words_beyond_the_length_are_cut():
    encoder, _ = built("transformer", max_sequence_length=2)
    assert encoder.transform(["the film was good"]).lengths.tolist() == [2]


def test_tf_idf_is_that_of_scikit_learn():
    encoder, module = built("tf_idf", character_ngram_size=3)
    common = {"sublinear_tf": True, "token_pattern": r"\w+|[^\w\s]"}
    words = TfidfVectorizer(ngram_range=(1, 2), **common).fit(TEXTS)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True).fit(TEXTS)
    new = ["good food was very good", "unseen"]
    weights = hstack([words.transform(new), pieces.transform(new)]).toarray()
    expected = weights @ module.terms.weight.detach().numpy()
    np.testing.assert_allclose(hidden(encoder, module, new).pooled.detach(), expected, rtol=1e-4, atol=1e-5)


def test_tf_idf_takes_a_column_without_words():
    encoder = encoders["tf_idf"].Config().build().fit(["", " "])
    assert encoder.build()(**encoder.collate(encoder.transform(["", "word"]))).pooled.abs().sum() == 0


def test_heads_of_a_transformer_must_divide_its_width():
    with pytest.raises(ConfigError, match=r"embedding_size: must be a multiple of num_heads \(3\)"):
        encoders["transformer"].Config.load({"embedding_size": 32, "num_heads": 3})
