"""Dropout with cheap masks is dropout."""

import pytest
import torch
from small_run import make_model, make_trainer
from torch import nn

from declarlm.layers.dropout import Dropout, quicken_dropout


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_zeroed_with_the_probability_and_the_mean_stays(probability, dtype):
    torch.manual_seed(3)
    outputs = Dropout(probability)(torch.ones(401, 1003, dtype=dtype))
    kept = outputs != 0
    assert outputs.dtype == dtype
    assert kept.double().mean().item() == pytest.approx(1 - probability, abs=0.003)
    assert outputs.double().mean().item() == pytest.approx(1, rel=0.03)
    assert len(outputs[kept].unique()) == 1
    assert (kept.double().mean(0) - 1 + probability).abs().max() < 0.15  # no column is favoured
    neighbours = (kept[:, :-1] & kept[:, 1:]).double().mean().item()
    assert neighbours == pytest.approx((1 - probability) ** 2, abs=0.004)


def test_the_gradient_passes_where_the_value_did():
    inputs = torch.rand(7, 5, 3, requires_grad=True)
    outputs = Dropout(0.4)(inputs)
    outputs.sum().backward()
    torch.testing.assert_close(inputs.grad * inputs, outputs)


def test_the_state_of_the_generator_decides():
    dropout, values = Dropout(0.3), torch.ones(33)
    torch.manual_seed(5)
    first, second = dropout(values), dropout(values)
    torch.manual_seed(5)
    assert torch.equal(dropout(values), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("probability", "kept"), [(0.0, 6), (1e-7, 6), (1.0, 0)])
def test_at_its_ends_it_keeps_or_drops_everything(probability, kept):
    assert Dropout(probability)(torch.ones(2, 3)).sum() == pytest.approx(kept)


def test_nothing_is_dropped_in_evaluation_or_of_nothing():
    values = torch.rand(4, 4)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert Dropout(0.5)(torch.ones(0, 3)).shape == (0, 3)


def test_every_dropout_of_a_module_becomes_cheap_and_other_parts_stay():
    module = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"default": nn.Dropout(0.2)}), nn.AlphaDropout(0.1))
    quicken_dropout(module)
    assert [type(part) for part in module.modules()][2:] == [nn.ModuleDict, Dropout, nn.AlphaDropout]
    assert module[1]["default"].p == 0.2


def test_the_trainer_uses_it(tmp_path):
    module = make_model(dropout=0.3)
    make_trainer(tmp_path, module=module)
    assert type(module[1]) is Dropout
