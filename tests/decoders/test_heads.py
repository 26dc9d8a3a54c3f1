import pytest
import torch

from declarlm.decoders import decoders


@pytest.mark.parametrize("name", list(decoders.where(model_types="ecd")))
@pytest.mark.parametrize("settings", [{}, {"num_fc_layers": 2, "output_size": 8, "norm": "layer", "dropout": 0.0}])
def test_a_head_gives_scores_and_every_weight_a_gradient(name, settings):
    torch.manual_seed(0)
    module = decoders[name].Config.load(settings).build().build(5, 3)
    scores = module(torch.randn(4, 5))
    assert scores.shape == (4, 3)
    scores.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in module.parameters())


def test_a_head_starts_with_no_opinion():
    module = decoders["classifier"].Config().build().build(384, 77)
    shares = module(torch.randn(10, 384)).softmax(-1)
    assert (shares - 1 / 77).abs().max() < 0.002


def test_each_decoder_says_which_model_it_reads():
    assert {name: sorted(decoders[name].model_types) for name in decoders} == {
        "category_extractor": ["llm"],
        "classifier": ["ecd"],
        "json_extractor": ["llm"],
        "number_extractor": ["llm"],
        "projector": ["ecd"],
        "regressor": ["ecd"],
        "tagger": ["ecd"],
        "text_extractor": ["llm"],
    }
