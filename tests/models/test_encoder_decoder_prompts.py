"""Virtual tokens before what an encoder reads, against PEFT's own wrapper fed with one row at a time."""

import numpy as np
import pandas as pd
import peft
import pytest
import torch
import transformers as hf
from seq2seq_bases import BASES
from seq2seq_rows import STOPS, as_ragged, plain_loss, random_rows, varied

from declarlm import DeclarLM
from declarlm.adapters import adapters
from declarlm.backbones import open_backbone
from declarlm.core import ConfigError
from declarlm.core.ragged import BORDER
from declarlm.inference.generation import Generation, generate
from declarlm.inference.label_scores import score_labels
from declarlm.models.causal import build_causal, collate

pytestmark = [
    pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils"),  # PEFT's calls cause it.
]
KINDS = ("prompt_tuning", "p_tuning")
NUMBER = 4
ROWS = pd.DataFrame(
    [
        {"note": f"the {color} cat sat on the {thing}", "color": color, "thing": thing}
        for color in ("red", "white")
        for thing in ("mat", "wine", "film", "food")
    ]
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp("bases") / name) for name, save in BASES.items()}


@pytest.fixture(params=BASES)
def backbone(request, bases):
    return open_backbone(bases[request.param])


def wrapped(backbone, kind):
    """A base with vectors as long as its embeddings, and their adapter."""
    adapter = adapters[kind].Config(num_virtual_tokens=NUMBER).build()
    module = adapter.attach(varied(backbone).requires_grad_(False), total_steps=1, seed=0).eval()
    with torch.no_grad():
        for weight in module.prompt_encoder.parameters():
            weight.normal_(generator=torch.Generator().manual_seed(5))
    return adapter, module


def starts_of(backbone):
    return list(backbone.between[backbone.between.index(BORDER) + 1 :])


def written_by_peft(module, backbone, reads, **options):
    starts, found = starts_of(backbone), []
    config = hf.GenerationConfig(
        max_new_tokens=8, eos_token_id=sorted(STOPS), pad_token_id=0, decoder_start_token_id=starts[0], **options
    )
    for read in reads:
        given = {"attention_mask": torch.ones(1, len(read), dtype=torch.long)}
        given |= {"decoder_input_ids": torch.tensor([starts])}
        output = module.generate(input_ids=torch.tensor([read]), generation_config=config, **given)
        found.append(output[0, len(starts) :].tolist())
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_equal_those_of_single_rows(kind, training, backbone):
    _, module = wrapped(backbone, kind)
    pairs = random_rows(backbone)
    expected = plain_loss(module, backbone, pairs, batched=False)
    expected.backward()
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    assert all("prompt_encoder" in name for name in trained)
    gradients = {name: weight.grad for name, weight in trained.items()}
    module.zero_grad(set_to_none=True)
    model = build_causal(module).train(training)
    loss = model.losses(collate(model, *as_ragged(backbone, pairs)))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    loss.backward()
    for name, weight in trained.items():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_scored_as_in_whole_passes_and_a_prompt_is_read_once(kind, backbone, monkeypatch):
    _, module = wrapped(backbone, kind)
    labels, reads = [[40, 41, 1], [40, 1], [55, 60, 61, 1]], [read for read, _ in random_rows(backbone)]
    with torch.no_grad():
        expected = [
            [-float(plain_loss(module, backbone, [(read, label)], batched=False)) for label in labels] for read in reads
        ]
    model, seen = build_causal(module), []
    encode = model.head.encode
    monkeypatch.setattr(model.head, "encode", lambda ids, mask: seen.append(len(ids)) or encode(ids, mask))
    found = score_labels(model, as_ragged(backbone, [(read, []) for read in reads])[0], labels)
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-4, atol=1e-4)
    assert seen == [4]


@pytest.mark.parametrize("budget", [1, 10_000])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_answers_equal_those_of_single_rows(kind, beams, budget, backbone):
    _, module = wrapped(backbone, kind)
    reads = [read for read, _ in random_rows(backbone)]
    expected = written_by_peft(module, backbone, reads, do_sample=False, num_beams=beams)
    ids, _ = as_ragged(backbone, [(read, []) for read in reads])
    options = {"settings": Generation(num_beams=beams), "token_budget": budget}
    assert generate(build_causal(module), ids, stop_ids=STOPS, max_new_tokens=8, **options) == expected
    with torch.no_grad():
        module.prompt_encoder["default"].embedding.weight.neg_()
    assert generate(build_causal(module), ids, stop_ids=STOPS, max_new_tokens=8, **options) != expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_answer_does_not_depend_on_the_rows_beside_it(kind, backbone):
    _, module = wrapped(backbone, kind)
    ids, _ = as_ragged(backbone, [(read, []) for read, _ in random_rows(backbone)])
    settings, model = Generation(temperature=1.5, top_k=20, seed=7), build_causal(module)
    found = [
        generate(model, ids, stop_ids=STOPS, max_new_tokens=8, settings=settings, token_budget=budget)
        for budget in (1, 10_000)
    ]
    assert found[0] == found[1]
    assert found[0] != generate(model, ids, stop_ids=STOPS, max_new_tokens=8, settings=settings.replace(seed=8))


def test_without_them_a_model_writes_and_scores_as_its_base(backbone):
    adapter, module = wrapped(backbone, "prompt_tuning")
    model, plain = build_causal(module).eval(), build_causal(varied(backbone)).eval()
    pairs = random_rows(backbone)
    prompts, _ = as_ragged(backbone, [(read, []) for read, _ in pairs])
    for settings in (Generation(), Generation(num_beams=2)):
        options = {"stop_ids": STOPS, "max_new_tokens": 8, "settings": settings}
        with adapter.off(module):
            assert generate(model, prompts, **options) == generate(plain, prompts, **options)
    batch = collate(plain, *as_ragged(backbone, pairs))
    with torch.no_grad():
        with adapter.off(module):
            torch.testing.assert_close(model.losses(batch), plain.losses(batch))
        assert abs(model.losses(batch) - plain.losses(batch)) > 1e-2


def test_noise_is_on_what_is_read_and_not_on_the_vectors(backbone):
    _, module = wrapped(backbone, "prompt_tuning")
    model = build_causal(module, noise_alpha=5.0).train()
    batch = collate(model, *as_ragged(backbone, random_rows(backbone)))
    seen = []
    encoder = module.get_base_model().get_encoder()
    encoder.register_forward_pre_hook(lambda _, args, given: seen.append(given["inputs_embeds"]), with_kwargs=True)
    for mode in (True, False):
        model.train(mode)(batch)
    noise = (seen[0] - seen[1]).abs()
    assert noise[:, :NUMBER].max() == 0
    assert (noise[:, NUMBER:] > 0).float().mean() > 0.9


def test_plain_peft_reads_what_is_saved(backbone, tmp_path):
    adapter, module = wrapped(backbone, "p_tuning")
    adapter.save(module, tmp_path)
    reads = [read for read, _ in random_rows(backbone)]
    loaded = peft.PeftModel.from_pretrained(varied(backbone), tmp_path).eval()
    assert written_by_peft(loaded, backbone, reads) == written_by_peft(module, backbone, reads)


def config(base, *outputs, **adapter):
    kinds = {"color": "category", "thing": "text"}
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": name, "type": kinds[name]} for name in outputs],
        "adapter": {"num_virtual_tokens": NUMBER, **adapter},
        "trainer": {"train_steps": 4, "batch_size": 8},
        "preprocessing": {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}},
    }


@pytest.mark.parametrize("family", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_one_config_trains_scores_writes_and_comes_back(kind, family, bases, tmp_path):
    result = DeclarLM(config(bases[family], "color", "thing", type=kind)).train(ROWS, output=tmp_path, name="run")
    found = result.model.predict(ROWS)
    sums = found["color_probabilities_red"] + found["color_probabilities_white"]
    assert sums.tolist() == pytest.approx([1.0] * len(ROWS), abs=1e-5)
    pd.testing.assert_frame_equal(found, DeclarLM.load(result.directory).predict(ROWS))
    losses = [row["color"]["loss"] for row in (result.model.evaluate(ROWS[at : at + 1]).metrics for at in range(2))]
    assert result.model.evaluate(ROWS[:2]).metrics["color"]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    onward = config(bases[family], "color", "thing", type=kind, pretrained_adapter_weights=str(result.directory))
    assert DeclarLM(onward).train(ROWS, output=tmp_path, name="onward").model.predict(ROWS) is not None


@pytest.mark.parametrize("family", BASES)
def test_they_take_their_part_of_what_the_encoder_reads(family, bases, tmp_path):
    rows = ROWS.assign(note=[" ".join([note] * 12) for note in ROWS["note"]])
    settings = config(bases[family], "thing", type="prompt_tuning", num_virtual_tokens=20)
    result = DeclarLM(settings).train(rows, output=tmp_path)
    model = result.model._ready()
    reads = [row.tolist().index(BORDER) for row in model.encode(rows).tokens.ids]
    assert max(reads) + 20 <= 64 < max(reads) + 20 + 4  # the context, less what stands between the halves
    assert len(result.model.predict(rows)) == len(rows)


@pytest.mark.parametrize("family", BASES)
def test_prefix_tuning_is_refused(family, bases, tmp_path):
    with pytest.raises(ConfigError) as caught:
        DeclarLM(config(bases[family], "thing", type="prefix_tuning")).train(ROWS, output=tmp_path)
    assert str(caught.value) == (
        "config: adapter.type: 'prefix_tuning' is for decoders, and this base has an encoder too; "
        "write prompt_tuning or lora"
    )
