"""What every adapter promises, on every shape of base that it fits."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from adapter_training import own_token_loss as loss
from shapes import REFUSED, SHAPES, TABLE, attached, base, batch, table

from declarlm.adapters import adapters, merge_adapter
from declarlm.adapters.checks import outputs, still
from declarlm.adapters.virtual_tokens import VirtualTokens
from declarlm.core import ConfigError

STEPS = 20
# How the loss of one batch falls in these steps, without dropout: the rate, and the share of it that may be left.
LEARNING = {
    "adalora": (3e-2, 0.65),
    "adaption_prompt": (1e-1, 0.97),
    "bitfit": (3e-2, 0.85),
    "bottleneck": (1e-2, 0.8),
    "dora": (1e-2, 0.65),
    "ia3": (1e-1, 0.8),
    "last_layers": (1e-2, 0.55),
    "ln_tuning": (3e-2, 0.85),
    "lora": (1e-2, 0.65),
    "oft": (1e-2, 0.7),
    "p_tuning": (1e-2, 0.97),
    "prefix_tuning": (3e-2, 0.97),
    "prompt_tuning": (1e-1, 0.97),
    "qlora": (1e-2, 0.65),
    "vera": (3e-2, 0.8),
}
PAIRS = [(kind, shape) for kind in adapters for shape in SHAPES if (kind, shape) not in REFUSED]


@cache
def learned(kind: str, shape: str) -> SimpleNamespace:
    """Train an adapter on one batch, and keep what a test compares."""
    inputs = batch(shape)
    adapter, module = attached(kind, shape)
    first = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    promised = {name for name, weight in module.named_parameters() if weight.requires_grad}
    with still(module):
        start = outputs(module, inputs)
    before = loss(module, inputs).item()
    rate, _ = LEARNING[kind]
    optimizer = torch.optim.AdamW(adapter.parameter_groups(module, rate))
    module.train()
    for step in range(1, STEPS + 1):
        extra = adapter.extra_loss(module)
        (loss(module, inputs) + (0.0 if extra is None else extra)).backward()
        optimizer.step()
        adapter.after_step(module, step)
        optimizer.zero_grad()
    module.eval()
    return SimpleNamespace(**locals())


@pytest.mark.parametrize(("kind", "shape"), PAIRS)
def test_the_start_is_the_base_and_one_batch_is_learned(kind, shape):
    case = learned(kind, shape)
    plain = base(shape)
    with still(plain):
        expected = outputs(plain, case.inputs)
    if case.adapter.starts_at_base:
        torch.testing.assert_close(case.start, expected, rtol=0, atol=2e-5)
    else:
        assert (case.start - expected).abs().max() > 1e-3, "virtual tokens are seen from the start"
    assert loss(case.module, case.inputs).item() < LEARNING[kind][1] * case.before
    assert case.adapter.effect(case.module) > 0
    with still(case.module), case.adapter.off(case.module):
        torch.testing.assert_close(outputs(case.module, case.inputs), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("kind", "shape"), PAIRS)
def test_only_the_promised_weights_are_trained(kind, shape):
    case = learned(kind, shape)
    now = dict(case.module.named_parameters())
    moved = {name for name, weight in case.first.items() if not torch.equal(weight, now[name])}
    assert moved <= case.promised
    assert len(moved) > 0.5 * len(case.promised), "a layer that a batch does not reach may stay"
    if isinstance(case.adapter, VirtualTokens):
        assert all("prompt_encoder" in name for name in case.promised)


@pytest.mark.parametrize(("kind", "shape"), PAIRS)
def test_it_is_the_same_after_saving_and_merging(kind, shape, tmp_path):
    case = learned(kind, shape)
    case.adapter.save(case.module, tmp_path)
    with still(case.module):
        expected = outputs(case.module, case.inputs)
    loaded = case.adapter.load(base(shape), tmp_path).eval()
    with still(loaded):
        found = outputs(loaded, case.inputs)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 if kind == "adalora" else 0)
    assert not any(weight.requires_grad for weight in loaded.parameters())
    if case.adapter.can_merge:
        merged, difference = merge_adapter(case.adapter, loaded, case.inputs)
        assert difference < 1e-4
        assert type(merged) is type(base(shape))


@pytest.mark.parametrize(("kind", "shape"), sorted(REFUSED))
def test_a_pair_that_does_not_fit_is_a_config_error_with_a_remedy(kind, shape):
    with pytest.raises(ConfigError, match=r"config: adapter\.type: .*; write \w+"):
        attached(kind, shape)


def test_the_table_of_what_fits_is_up_to_date():
    assert TABLE.read_text(encoding="utf-8") == table(), "run python tests/adapters/shapes.py"
