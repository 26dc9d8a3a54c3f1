"""What every encoder promises: one vector a row, gradients, and the same after saving."""

import json
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from plugins import config_of, plugin
from small_bases import save_tiny_bert

from declarlm.config import REGISTRIES
from declarlm.core.ragged import Ragged
from declarlm.layers.hidden import Hidden

VALUES: dict[str, Any] = {
    "text": ["the film was good", "", "bad food not good at all", "the the the", "a very bad film"],
    "category": np.array([0, 2, 1, 2, 3]),
    "set": Ragged.from_rows([[1, 2], [0], [3], [1, 2, 3], [2]]),
    "vector": np.array([[0.5, 1.0], [-1.0, 0.0], [2.0, 2.0], [0.0, 3.0], [0.25, -1.0]], dtype=np.float32),
    "number": np.array([[0.5], [-1.0], [2.0], [0.0], [0.25]], dtype=np.float32),
}


def encoder_cases() -> list[Any]:
    cases = []
    for name in REGISTRIES["encoders"]:
        known = plugin("encoders", name).Config.schema().fields
        settings = [
            {},
            *({key: value} for key, value in {"trainable": True, "adapter": "lora"}.items() if key in known),
        ]
        cases += [
            pytest.param(name, kind, some, id="-".join([name, kind, *some]))
            for kind in sorted(plugin("encoders", name).accepts)
            for some in settings
        ]
    return cases


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory) -> str:
    return save_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def encoded(tiny_bert):
    """Builds each case once: the encoder, its rows, and its module with weights that are nowhere zero."""

    @cache
    def build(name: str, kind: str, settings: tuple[tuple[str, Any], ...]) -> SimpleNamespace:
        assert kind in VALUES, f"add values of kind {kind!r} to VALUES"
        places = {"pretrained_model_name_or_path": tiny_bert}
        known = plugin("encoders", name).Config.schema().fields
        config = config_of(
            "encoders", name, **dict(settings), **{key: place for key, place in places.items() if key in known}
        )
        encoder = config.build().fit(VALUES[kind])
        torch.manual_seed(0)
        module = encoder.build()
        encoder.adapt(module, total_steps=10, seed=0)
        with torch.no_grad():
            for weight in module.parameters():
                if weight.requires_grad:
                    weight += 0.05 * torch.randn_like(weight)
        return SimpleNamespace(encoder=encoder, module=module, rows=encoder.transform(VALUES[kind]), config=config)

    return lambda name, kind, settings: build(name, kind, tuple(settings.items()))


def some_rows(rows: Any, wanted: list[int]) -> Any:
    return rows.take(np.array(wanted)) if isinstance(rows, Ragged) else rows[wanted]


def hidden_of(case: SimpleNamespace, wanted: list[int] | None = None) -> Hidden:
    rows = case.rows if wanted is None else some_rows(case.rows, wanted)
    case.module.eval()
    with torch.no_grad():
        return case.module(**case.encoder.collate(rows))


@pytest.mark.parametrize(("name", "kind", "settings"), encoder_cases())
def test_an_encoder_gives_one_vector_a_row_whatever_stands_beside_it(encoded, name, kind, settings):
    case = encoded(name, kind, settings)
    together = hidden_of(case)
    assert together.pooled.shape == (5, case.module.width)
    assert together.pooled.dtype == torch.float32
    assert len(case.encoder.costs(case.rows)) == 5
    assert (together.tokens is None) == (together.mask is None)
    for row in range(5):
        alone = hidden_of(case, [row])
        torch.testing.assert_close(alone.pooled[0], together.pooled[row], rtol=1e-5, atol=1e-5)
        if alone.tokens is not None:
            kept = together.tokens[row][together.mask[row]]
            torch.testing.assert_close(alone.tokens[0][alone.mask[0]], kept, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "kind", "settings"), encoder_cases())
def test_every_trainable_weight_of_an_encoder_gets_a_gradient(encoded, name, kind, settings):
    case = encoded(name, kind, settings)
    trained = {one: weight for one, weight in case.module.named_parameters() if weight.requires_grad}
    assert not (case.encoder.frozen and trained)
    grouped = [weight for group in case.encoder.parameter_groups(case.module, 0.1) for weight in group["params"]]
    assert sorted(map(id, grouped)) == sorted(map(id, trained.values()))
    if not trained:
        return
    case.module.train()
    torch.manual_seed(1)
    pooled = case.module(**case.encoder.collate(case.rows)).pooled
    (pooled * torch.randn_like(pooled)).sum().backward()
    still = [one for one, weight in trained.items() if weight.grad is None or not weight.grad.abs().max() > 0]
    case.module.zero_grad()
    assert not still


@pytest.mark.parametrize(("name", "kind", "settings"), encoder_cases())
def test_a_saved_encoder_gives_the_same_to_the_last_bit(encoded, name, kind, settings, tmp_path):
    case = encoded(name, kind, settings)
    case.encoder.save(case.module, tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*.*")} <= {".safetensors", ".json"}
    state = case.encoder.State.load(json.loads(json.dumps(case.encoder.state.dump())))
    assert state == case.encoder.state
    again = type(case.config).load(case.config.dump()).build(state)
    loaded = SimpleNamespace(encoder=again, module=again.load(tmp_path), rows=again.transform(VALUES[kind]))
    for before, after in zip(stored(case.rows), stored(loaded.rows), strict=True):
        np.testing.assert_array_equal(before, after)
    assert torch.equal(hidden_of(case).pooled, hidden_of(loaded).pooled)


def stored(rows: Any) -> list[Any]:
    """The arrays that transformed rows are made of."""
    if isinstance(rows, Ragged):
        return [rows.values, rows.offsets]
    return [rows] if isinstance(rows, np.ndarray) else [rows.indptr, rows.indices, rows.data]
