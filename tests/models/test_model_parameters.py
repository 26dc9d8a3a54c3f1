"""A longer context by scaled positions, and noise on what is read."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from decoder_families import save_family
from seq2seq_bases import save_tiny_bart, save_tiny_t5
from small_bases import save_tiny_llama

from declarlm import DeclarLM
from declarlm.backbones import ModelParameters, RopeScaling, open_backbone
from declarlm.config import load_config
from declarlm.core import ConfigError
from declarlm.core.ragged import BORDER, Ragged
from declarlm.models.causal import build_causal, collate

pytestmark = [
    pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils"),  # PEFT's calls cause it.
]
ALPHA = 5.0
ROWS = pd.DataFrame([{"note": f"the {color} cat", "color": color} for color in ("red", "white")] * 4)


def config(base, **parts):
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": {"type": "lora", "r": 4, "dropout": 0.0},
        "trainer": {"train_steps": 2, "batch_size": 4, "learning_rate": 0.01},
        "preprocessing": {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}},
        **parts,
    }


def plain_positions(kind, factor, base, positions):
    """Angles of rotary positions by the formulas of the papers, for a head of 16 and a context of 64."""
    half, width, context = torch.arange(0, 16, 2) / 16, 16, 64
    if kind == "linear":
        return positions[:, None] / factor / base**half
    if kind == "dynamic":  # as for the longest position, which is beyond the context
        length = int(positions.max()) + 1
        base = base * (factor * length / context - (factor - 1)) ** (width / (width - 2))
        return positions[:, None] / base**half
    place = width * (math.log(context) - torch.tensor([32.0, 1.0]).log() - math.log(2 * math.pi)) / (2 * math.log(base))
    low, high = max(0, math.floor(place[0])), min(width - 1, math.ceil(place[1]))
    kept = 1 - ((torch.arange(8) - low) / (high - low)).clamp(0, 1)
    return positions[:, None] * (kept / base**half + (1 - kept) / factor / base**half)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_positions_are_scaled_as_the_papers_say(kind, tmp_path):
    name = save_family("llama", tmp_path / "base")
    backbone = open_backbone(name, rope=RopeScaling(rope_type=kind, factor=2.0))
    assert backbone.context_length == 2 * open_backbone(name).context_length
    model = backbone.load_causal()
    positions = torch.arange(100)
    cosine, _ = model.model.rotary_emb(torch.zeros(1, 100, 32), positions[None])
    expected = plain_positions(kind, 2.0, model.config.rope_parameters["rope_theta"], positions.float())
    size = 0.1 * math.log(2.0) + 1 if kind == "yarn" else 1.0  # section 3.4 of the paper
    torch.testing.assert_close(cosine[0, :, :8], size * expected.cos(), rtol=1e-4, atol=1e-4)


def test_rows_beyond_the_context_are_trained_whole_and_come_back(tmp_path):
    rows = ROWS.assign(note=["the cat sat on the red mat and " * 6 + note for note in ROWS["note"]])
    base = save_tiny_llama(tmp_path / "base")
    cut = DeclarLM(config(base)).train(rows, output=tmp_path, name="cut").model._ready()
    assert (cut.encode(rows).tokens.num_cut > 0).all()
    settings = config(base, model_parameters={"rope_scaling": {"rope_type": "linear", "factor": 4}})
    result = DeclarLM(settings).train(rows, output=tmp_path, name="long")
    store = result.model._ready().encode(rows)
    assert (store.tokens.num_cut == 0).all()
    assert store.costs.max() > 64
    found = result.model.predict(rows)
    pd.testing.assert_frame_equal(found, DeclarLM.load(result.directory).predict(rows))


def test_weights_that_were_trained_with_scaled_positions_keep_them(tmp_path):
    base = save_tiny_llama(tmp_path / "base")
    rope = {"rope_type": "yarn", "factor": 2}
    settings = config(base, adapter=None, model_parameters={"rope_scaling": rope})
    result = DeclarLM(settings).train(ROWS, output=tmp_path, name="run")
    loaded = DeclarLM.load(result.directory)
    pd.testing.assert_frame_equal(loaded.predict(ROWS), result.model.predict(ROWS))
    assert loaded._ready().backbone.context_length == 128
    plain = hf.AutoConfig.from_pretrained(result.directory / "model" / "weights")
    assert {name: plain.rope_parameters[name] for name in rope} == rope


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda folder: save_family("gpt2", folder), "(gpt2), which has no rotary positions; leave it out"),
        (lambda folder: save_tiny_t5(folder), "(t5), which has no rotary positions; leave it out"),
    ],
)
def test_a_base_without_rotary_positions_is_refused_before_its_weights_are_loaded(save, message, tmp_path, monkeypatch):
    monkeypatch.setattr("declarlm.backbones.loading.load", lambda *_: pytest.fail("the weights were loaded"))
    base = save(tmp_path / "base")
    settings = config(base, model_parameters={"rope_scaling": {"rope_type": "linear", "factor": 2}})
    with pytest.raises(ConfigError) as caught:
        DeclarLM(settings).train(ROWS, output=tmp_path)
    assert str(caught.value) == f"config: model_parameters.rope_scaling: is not for {base!r} {message}"


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        (
            {"trainer": {"type": "none"}, "adapter": None, "model_parameters": {"neftune_noise_alpha": 5}},
            "model_parameters.neftune_noise_alpha: has no effect: trainer.type 'none' trains nothing; leave it out",
        ),
        (
            {"model_parameters": {"rope_scaling": {"rope_type": "linear", "factor": 1}}},
            "model_parameters.rope_scaling.factor: must be greater than 1, got 1.0",
        ),
    ],
)
def test_what_has_no_effect_is_refused(parts, problem):
    with pytest.raises(ConfigError) as caught:
        load_config(config("starter", **parts))
    assert str(caught.value) == f"config: {problem}"


def test_both_of_ludwigs_places_for_the_noise_are_known():
    given = {"rope_scaling": {"type": "linear", "factor": 2.0}, "neftune_noise_alpha": 5}
    rope = RopeScaling(rope_type="linear", factor=2.0)
    loaded = load_config(config("starter", model_parameters=given))
    assert loaded.model_parameters == ModelParameters(rope_scaling=rope, neftune_noise_alpha=5.0)
    moved = load_config(config("starter", trainer={"type": "finetune", "neftune_noise_alpha": 5}))
    assert moved.model_parameters.neftune_noise_alpha == 5.0


def noise_of(module, table, batch, seed=3):
    """What is added to the embeddings of a batch, and what comes of it."""
    seen = []
    handle = table.register_forward_hook(lambda part, args, output: seen.append((args[0], output.detach())))
    try:
        torch.manual_seed(seed)
        log_probs = module(batch)
    finally:
        handle.remove()
    return [output - torch.nn.functional.embedding(ids, table.weight) for ids, output in seen], log_probs


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_noise_is_that_of_the_paper_whatever_the_layout(layout, tmp_path):
    base = open_backbone(save_tiny_llama(tmp_path / "base")).load_causal()
    module = build_causal(base, noise_alpha=ALPHA).train()
    lengths = (9, 5, 12)
    ids = Ragged.from_rows([np.arange(3, 3 + length) for length in lengths])
    roles = Ragged.from_rows([[0] * (length - 2) + [1, 2] for length in lengths])
    (noise,), _ = noise_of(module, base.get_input_embeddings(), collate(module, ids, roles, layout=layout))
    torch.manual_seed(3)
    uniform = torch.empty_like(noise).uniform_(-1, 1)
    if layout == "padded":
        for row, length in enumerate(lengths):
            expected = uniform[row, :length] * ALPHA / math.sqrt(length * 32)
            torch.testing.assert_close(noise[row, :length], expected, rtol=1e-4, atol=1e-6)
    else:
        sizes = torch.tensor([length for length in lengths for _ in range(length)])
        torch.testing.assert_close(noise[0], uniform[0] * ALPHA / (sizes * 32).sqrt()[:, None], rtol=1e-4, atol=1e-6)


def test_noise_is_drawn_for_each_row_and_not_in_evaluation(tmp_path):
    base = open_backbone(save_tiny_llama(tmp_path / "base")).load_causal()
    module, plain = build_causal(base, noise_alpha=ALPHA), build_causal(base)
    ids = Ragged.from_rows([[*range(3, 43), 5], [*range(3, 43), 6], [*range(3, 43), 7], [*range(3, 43), 8]])
    roles = Ragged.from_rows([[0] * 40 + [1]] * 4)
    batch = collate(module.train(), ids, roles)
    assert batch.head is None  # a common beginning would get one noise for all rows
    (noise,), noisy = noise_of(module, base.get_input_embeddings(), batch)
    assert not torch.equal(noise[0, 0], noise[1, 0])
    module.eval()
    (none,), quiet = noise_of(module, base.get_input_embeddings(), batch)
    assert (none == 0).all()
    torch.testing.assert_close(quiet, plain.eval()(batch), rtol=0, atol=0)
    assert (noisy - quiet).abs().max() > 1e-4


@pytest.mark.parametrize("save", [save_tiny_t5, save_tiny_bart])
def test_of_an_encoder_decoder_only_what_is_read_gets_noise(save, tmp_path):
    backbone = open_backbone(save(tmp_path / "base"))
    base = backbone.load_causal()
    module = build_causal(base, noise_alpha=ALPHA).train()
    starts = backbone.between[backbone.between.index(BORDER) :]
    ids = Ragged.from_rows([[40, 41, 42, *starts, 50, 51], [43, *starts, 52]])
    roles = Ragged.from_rows([[0] * (3 + len(starts)) + [1, 2], [0] * (1 + len(starts)) + [1]])
    batch = collate(module, ids, roles)
    (read,), _ = noise_of(module, base.get_encoder().get_input_embeddings(), batch)
    torch.manual_seed(3)
    uniform = torch.empty_like(read).uniform_(-1, 1)
    for row, length in enumerate((3, 1)):
        expected = uniform[row, :length] * ALPHA / math.sqrt(length * 32)
        torch.testing.assert_close(read[row, :length], expected, rtol=1e-4, atol=1e-6)
    (written,), _ = noise_of(module, base.get_decoder().get_input_embeddings(), batch)
    assert (written == 0).all()


def test_a_noisy_training_is_the_same_for_the_same_seed_and_another_without_noise(tmp_path):
    base = save_tiny_llama(tmp_path / "base")
    noisy = config(base, model_parameters={"neftune_noise_alpha": ALPHA})
    losses = [
        DeclarLM(settings).train(ROWS, output=tmp_path).model.evaluate(ROWS).metrics["color"]["loss"]
        for settings in (noisy, noisy, config(base), {**noisy, "seed": 7})
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3
