"""What every adapter promises: a start at the base, an effect, an untouched base, and the same after saving."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from plugins import config_of, of_kind
from safetensors.torch import load_file
from small_bases import save_tiny_llama
from torch.nn import functional

from declarlm.adapters.checks import outputs
from declarlm.adapters.in_place import InPlaceAdapter
from declarlm.backbones import Quantization, open_backbone
from declarlm.config import REGISTRIES

IDS = torch.randint(5, 290, (3, 12), generator=torch.Generator().manual_seed(3))
STEPS = 10


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory) -> str:
    """A base with biases, which some adapters train."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = save_tiny_llama(tmp_path_factory.mktemp("llama") / "base")
    config = LlamaConfig.from_pretrained(folder, attention_bias=True, mlp_bias=True)
    torch.manual_seed(5)
    model = LlamaForCausalLM(config)
    model.load_state_dict(LlamaForCausalLM.from_pretrained(folder).state_dict(), strict=False)
    model.save_pretrained(folder)
    return folder


def logits_of(module):
    return outputs(module, {"input_ids": IDS})


@pytest.fixture(scope="module")
def adapted(tiny_llama):
    """Trains each adapter once, on whole and on 4-bit weights, and keeps what a test compares."""

    @cache
    def train(name: str, bits: int | None) -> SimpleNamespace:
        quantization = None if bits is None else Quantization(bits=bits)
        base = open_backbone(tiny_llama)
        plain = base.load_causal(quantization)
        adapter = config_of("adapters", name).build()
        with torch.no_grad():
            before = logits_of(plain)
        module = adapter.attach(plain, total_steps=STEPS, seed=0)
        with torch.no_grad():
            start = logits_of(module)
        first = {one: weight.detach().clone() for one, weight in module.named_parameters()}
        optimizer = torch.optim.AdamW(adapter.parameter_groups(module, 1e-2))
        torch.manual_seed(0)
        for step in range(1, STEPS + 1):
            module.train()
            logits = logits_of(module)
            extra = adapter.extra_loss(module)
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
            (loss if extra is None else loss + extra).backward()
            optimizer.step()
            adapter.after_step(module, step)
            optimizer.zero_grad()
        return SimpleNamespace(
            adapter=adapter,
            module=module.eval(),
            fresh=lambda: base.load_causal(quantization),
            before=before,
            start=start,
            first=first,
        )

    return train


KINDS = {name: REGISTRIES["adapters"][name] for name in REGISTRIES["adapters"]}
IN_PLACE = [name for name, kind in KINDS.items() if issubclass(kind, InPlaceAdapter)]
ADAPTERS = [(name, bits) for name, kind in KINDS.items() for bits in (None, 4) if kind.takes_bits or not bits]


@pytest.mark.parametrize(("name", "bits"), ADAPTERS)
def test_a_new_adapter_leaves_the_base_as_it_is(adapted, name, bits):
    case = adapted(name, bits)
    if case.adapter.starts_at_base:
        torch.testing.assert_close(case.start, case.before, rtol=0, atol=1e-5)
    else:
        assert (case.start - case.before).abs().max() > 1e-5


@pytest.mark.parametrize(("name", "bits"), ADAPTERS)
def test_training_an_adapter_has_an_effect_and_touches_no_weight_of_the_base(adapted, name, bits):
    case = adapted(name, bits)
    with torch.no_grad():
        after = logits_of(case.module)
        with case.adapter.off(case.module):
            assert torch.equal(logits_of(case.module), case.before)
    assert (after - case.before).abs().max() > 1e-3
    now = dict(case.module.named_parameters())
    moved = {one for one, weight in case.first.items() if not torch.equal(weight, now[one])}
    assert moved == {one for one, weight in now.items() if weight.requires_grad}


@pytest.mark.parametrize(("name", "bits"), ADAPTERS)
def test_a_saved_adapter_gives_the_same_logits_to_the_last_bit(adapted, name, bits, tmp_path):
    case = adapted(name, bits)
    case.adapter.save(case.module, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    loaded = case.adapter.load(case.fresh(), tmp_path).eval()
    written = sum(weight.numel() for weight in load_file(tmp_path / "adapter_model.safetensors").values())
    is_cut = written < sum(weight.numel() for weight in case.module.parameters() if weight.requires_grad)
    with torch.no_grad():
        # Without the ranks that are gone, sums are rounded in another order.
        tolerance = 1e-6 if is_cut else 0.0
        torch.testing.assert_close(logits_of(loaded), logits_of(case.module), rtol=0, atol=tolerance)
    assert not any(weight.requires_grad for weight in loaded.parameters())


@of_kind("adapters")
def test_an_adapter_starts_from_its_seed_alone(tiny_llama, name):
    def start(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed + 100)
        base = open_backbone(tiny_llama).load_causal()
        module = config_of("adapters", name).build().attach(base, total_steps=STEPS, seed=seed)
        drawn = {one: weight for one, weight in module.named_buffers() if ".vera_" in one}
        return {**drawn, **{one: weight for one, weight in module.named_parameters() if weight.requires_grad}}

    first, second, other = start(1), start(1), start(2)
    assert all(torch.equal(first[one], second[one]) for one in first)
    is_drawn = name not in ("ia3", "oft", *IN_PLACE)  # those start at one value, or at the base's
    assert is_drawn != all(torch.equal(first[one], other[one]) for one in first)
