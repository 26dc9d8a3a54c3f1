"""What must not matter does not: how a step is cut, how rows are laid out, who watches, and in what order of calls."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_bases import save_tiny_bert, save_tiny_llama

from declarlm import DeclarLM
from declarlm.core.files import read_json_lines
from declarlm.core.ragged import Ragged
from declarlm.models.causal import collate

ROWS = pd.DataFrame(
    [
        {
            "note": f"the {color} {animal} sat" + " on the mat" * (row % 4),
            "size": row % 5,
            "price": row % 7,
            "color": color,
            "animal": animal,
        }
        for row, (color, animal) in enumerate(
            [(color, animal) for color in ("red", "white") for animal in ("dog", "pig", "elephant", "cow")] * 5
        )
    ]
)
STEPS = 4
KINDS = ["llm", "several", "weights", "qlora", "ecd", "bert"]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bases")
    return {"llama": save_tiny_llama(folder / "llama"), "bert": save_tiny_bert(folder / "bert", dropout=0.0)}


@pytest.fixture
def train(bases, tmp_path):
    """Trains a few steps without dropout; keywords change the trainer's section."""

    def run(kind: str = "llm", *, seed: int = 42, dropout: float = 0.0, **trainer: Any) -> Any:
        config = {
            **(llm if kind in ("llm", "several", "weights", "qlora") else ecd)(kind, bases, dropout),
            "trainer": {"train_steps": STEPS, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32", **trainer},
            "seed": seed,
        }
        return DeclarLM(config).train(ROWS, output=tmp_path)

    return run


def llm(kind: str, bases: dict[str, str], dropout: float) -> dict[str, Any]:
    adapter = {"type": "qlora" if kind == "qlora" else "lora", "r": 4, "dropout": dropout}
    outputs = [{"name": "animal", "type": "category"}]
    return {
        "base_model": bases["llama"],
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [*outputs, {"name": "color", "type": "text"}] if kind == "several" else outputs,
        "prompt": {"template": "Say what sat: {{ note }}."},
        "adapter": None if kind == "weights" else adapter,
    }


def ecd(kind: str, bases: dict[str, str], dropout: float) -> dict[str, Any]:
    trained = {
        "type": "bert",
        "pretrained_model_name_or_path": bases["bert"],
        "adapter": {"type": "lora", "dropout": 0.0},
    }
    encoder = trained if kind == "bert" else {"type": "embed", "dropout": dropout, "embedding_size": 16}
    decoder = {"type": "classifier", "dropout": dropout}
    return {
        "model_type": "ecd",
        "input_features": [{"name": "note", "type": "text", "encoder": encoder}, {"name": "size", "type": "number"}],
        "output_features": [
            {"name": "animal", "type": "category", "decoder": decoder, "loss": {"type": "softmax_cross_entropy"}},
            {"name": "price", "type": "number", "decoder": {"type": "regressor", "dropout": dropout}},
        ],
        "combiner": {"type": "concat", "dropout": dropout, "output_size": 16},
    }


def losses_of(result: Any) -> list[float]:
    lines = read_json_lines(result.directory / "metrics.jsonl")
    return [line["loss"] for line in lines if line["kind"] == "step"]


def weights_of(result: Any) -> dict[str, torch.Tensor]:
    weights = result.model._model.module.named_parameters()
    return {name: weight.detach() for name, weight in weights if weight.requires_grad}


def same(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    """Whether two runs have the same losses and weights."""
    weights, others = weights_of(one), weights_of(other)
    assert weights.keys() == others.keys()
    assert len(losses_of(one)) == STEPS
    return np.allclose(losses_of(one), losses_of(other), rtol=0, atol=tolerance) and all(
        torch.allclose(weight, others[name], rtol=0, atol=tolerance) for name, weight in weights.items()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_of_eight_is_eight_of_one_and_any_cut_of_them(train, kind):
    whole = train(kind)
    accumulated = train(kind, batch_size=1, gradient_accumulation_steps=8)
    assert same(whole, accumulated, 1e-6)
    for budget in (1, 60):  # A row at a time; two or three.
        cut = train(kind, max_tokens_per_micro_batch=budget)
        # Adam divides by the root of tiny squares, so that rounding is larger in weights than in gradients.
        np.testing.assert_allclose(losses_of(cut), losses_of(whole), rtol=0, atol=1e-6)
        for name, weight in weights_of(whole).items():
            torch.testing.assert_close(weights_of(cut)[name], weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["llm", "several", "weights", "ecd", "bert"])
def test_gradients_do_not_depend_on_the_cut(train, kind):
    result = train(kind, train_steps=STEPS)
    model = result.model._model
    store = model.encode(ROWS)
    rows = np.arange(8)
    found = []
    for cut in ([rows], list(rows[:, None]), [rows[5:], rows[:5]], [rows[::-1]]):
        model.module.zero_grad()
        model.module.eval()
        for part in cut:
            sum(model.losses(store, part).values()).backward()
        found.append(
            {name: weight.grad.clone() for name, weight in model.module.named_parameters() if weight.requires_grad}
        )
    for other in found[1:]:
        for name, gradient in found[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-5, atol=1e-6)
    assert max(gradient.abs().max() for gradient in found[0].values()) > 1e-3


@pytest.mark.parametrize("kind", ["llm", "several"])
def test_packed_padded_and_alone_are_the_same_losses(train, kind):
    model = train(kind).model._model
    tokens = model.encode(ROWS).tokens
    rows = np.array([3, 0, 17, 8])

    def row_losses(wanted: np.ndarray, layout: str) -> list[float]:
        ids, roles, fields = (part.take(wanted) for part in (tokens.ids, tokens.roles, tokens.fields))
        batch = collate(model.module, ids, roles, fields, layout=layout)
        with torch.no_grad():
            return [-score.item() for score in batch.by_row(model.module(batch))]

    model.module.eval()
    alone = [row_losses(rows[place : place + 1], "padded")[0] for place in range(4)]
    for layout in ("padded", "packed", "auto"):
        np.testing.assert_allclose(row_losses(rows, layout), alone, rtol=1e-5)
    summed = sum(loss.item() for loss in model.losses(model.encode(ROWS), rows).values())
    assert summed == pytest.approx(sum(alone), rel=1e-5)


def test_several_outputs_learn_what_stands_between_them_and_the_end(train):
    model = train("several").model._model
    store = model.encode(ROWS)
    rows = np.arange(4)
    tokens = store.tokens
    batch = collate(model.module, *(part.take(rows) for part in (tokens.ids, tokens.roles, tokens.fields)))
    with torch.no_grad():
        scores = -model.module(batch)
        losses = {name: loss.item() for name, loss in model.losses(store, rows).items()}
    assert set(batch.targets[batch.fields < 0].tolist()) >= {model.encoder.stop_id}
    assert losses["animal"] == pytest.approx(scores[batch.fields == 0].sum().item(), rel=1e-5)
    assert losses["color"] == pytest.approx(scores[batch.fields != 0].sum().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["llm", "several", "ecd"])
def test_the_validation_loss_does_not_depend_on_its_batches(train, kind):
    found = [train(kind, eval_batch_size=size).history for size in (1, 3, None)]
    for column in [name for name in found[0] if name.startswith("metrics.")]:
        for other in found[1:]:
            np.testing.assert_allclose(other[column], found[0][column], rtol=1e-6)


def test_the_validation_loss_is_the_mean_over_tokens(train):
    result = train("llm")
    model = result.model._model
    rows = ROWS.iloc[[0, 2, 7, 6]]
    store = model.encode(rows)
    losses = [model.losses(store, np.array([row]))["animal"].item() for row in range(4)]
    assert len(set(store.supervised.tolist())) > 1
    measured = result.model.evaluate(rows).metrics["combined"]["loss"]
    assert measured == pytest.approx(sum(losses) / store.supervised.sum(), rel=1e-6)


@pytest.mark.parametrize("kind", ["llm", "weights", "qlora", "ecd"])
def test_a_seed_decides_everything(train, kind):
    dropout = 0.0 if kind == "weights" else 0.2
    first, second = train(kind, dropout=dropout), train(kind, dropout=dropout)
    assert same(first, second)
    assert not same(first, train(kind, dropout=dropout, seed=43), 1e-4)


@pytest.mark.parametrize("kind", ["llm", "ecd"])
def test_training_does_not_depend_on_who_watches_or_on_what_was_drawn_before(train, kind):
    plain = train(kind, dropout=0.2)
    torch.manual_seed(123)
    np.random.seed(123)
    watched = {"eval_steps": 1, "evaluate_training_set": True, "early_stop": -1}
    for changes in (watched, {"skip_all_evaluation": True}, {"steps_per_checkpoint": 1}):
        other = train(kind, dropout=0.2, **changes)
        assert losses_of(other) == losses_of(plain)
        last = [
            load_file(run.directory / "checkpoints" / f"step-{STEPS:08d}" / "weights.safetensors")
            for run in (plain, other)
        ]
        assert all(torch.equal(weight, last[1][name]) for name, weight in last[0].items())


def test_a_pretraining_piece_has_the_loss_of_its_tokens(bases, tmp_path):
    config = {
        "base_model": bases["llama"],
        "input_features": [{"name": "note", "type": "text"}],
        "trainer": {"type": "pretrain", "sequence_length": 16, "train_steps": 2, "batch_size": 2},
    }
    model = DeclarLM(config).train(ROWS, output=tmp_path).model._model
    store = model.pack(ROWS, length=16)
    ids: Ragged = store.tokens.ids
    assert set(ids.lengths[:-1]) == {16}
    backbone = model.module.backbone.eval()
    with torch.no_grad():
        for row in (0, 3):
            piece = torch.tensor(ids[row].astype(np.int64))
            logits = backbone(piece[None]).logits[0, :-1]
            expected = torch.nn.functional.cross_entropy(logits, piece[1:], reduction="sum").item()
            found = model.losses(store, np.array([row]))["tokens"].item()
            assert found == pytest.approx(expected, rel=1e-5)
            assert store.supervised[row] == 15
