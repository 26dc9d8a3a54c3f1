import numpy as np
import pytest
import torch

from declarlm.encoders import encoders

IDS = np.array([1, 0, 2, 2], dtype=np.int64)
NUMBERS = np.array([[0.0], [1.0], [2.0], [10.0]], dtype=np.float32)


def built(name, values, **settings):
    encoder = encoders[name].Config.load(settings).build().fit(values)
    return encoder, encoder.build()


def hidden(encoder, module, values):
    return module(**encoder.collate(encoder.transform(values))).pooled


@pytest.mark.parametrize("name", list(encoders.where(accepts="category")))
def test_categories_become_vectors_of_the_stated_width(name):
    encoder, module = built(name, IDS)
    vectors = hidden(encoder, module, IDS)
    assert vectors.shape == (4, module.width)
    assert vectors[2].tolist() == vectors[3].tolist() != vectors[0].tolist()


@pytest.mark.parametrize("name", list(encoders.where(accepts="number")))
def test_numbers_become_vectors_of_the_stated_width(name):
    encoder, module = built(name, NUMBERS)
    vectors = hidden(encoder, module, NUMBERS)
    assert vectors.shape == (4, module.width)
    assert vectors.dtype == torch.float32


def test_the_vector_of_the_unknown_starts_at_zero():
    encoder, module = built("dense", IDS, embedding_size=3)
    assert hidden(encoder, module, IDS)[1].tolist() == [0, 0, 0]


def test_dense_layers_train():
    for values in (IDS, NUMBERS):
        torch.manual_seed(0)
        encoder, module = built("dense", values, num_fc_layers=1, output_size=8)
        vectors = hidden(encoder, module, values)
        assert vectors.shape == (4, 8)
        vectors.square().sum().backward()
        assert all(weight.grad.any() for weight in module.parameters())


def test_onehot_gives_each_category_a_place():
    encoder, module = built("onehot", IDS)
    assert hidden(encoder, module, IDS).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_piecewise_linear_encoding_follows_the_paper():
    encoder, module = built("ple", NUMBERS, num_bins=3)
    np.testing.assert_allclose(encoder.state.edges, [0, 1, 2, 10])
    # Gorishniy et al. 2022, equation 1: 1 for bins below, the share within the bin, 0 above; the ends are open.
    values = np.array([[0.5], [1.5], [6.0], [-1.0], [18.0]], dtype=np.float32)
    expected = [[0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.5], [-1, 0, 0], [1, 1, 2]]
    np.testing.assert_allclose(hidden(encoder, module, values), expected)


def test_bins_say_where_a_number_lies():
    encoder, module = built("bins", NUMBERS, num_bins=3)
    values = np.array([[-5.0], [0.5], [1.0], [2.5], [99.0]], dtype=np.float32)
    assert hidden(encoder, module, values).argmax(1).tolist() == [0, 0, 1, 2, 2]


def test_a_constant_column_has_one_bin():
    for name in ("ple", "bins"):
        values = np.zeros((3, 1), dtype=np.float32)
        encoder, module = built(name, values)
        assert hidden(encoder, module, values).isfinite().all()


@pytest.mark.parametrize("name", sorted({*encoders.where(accepts="category"), *encoders.where(accepts="number")}))
def test_an_encoder_survives_saving(name, tmp_path):
    values = IDS if "category" in encoders[name].accepts else NUMBERS
    encoder, module = built(name, values)
    encoder.save(module, tmp_path)
    restored = encoders[name].Config().build(encoder.State.load(encoder.state.dump()))
    assert torch.equal(hidden(restored, restored.load(tmp_path), values), hidden(encoder, module, values))
