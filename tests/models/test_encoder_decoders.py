"""Encoder-decoders against transformers' own loss and loop, and through the whole path of a config."""

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as hf
from seq2seq_bases import BASES
from seq2seq_rows import STOPS, as_ragged, plain_loss, random_rows, varied

from declarlm import DeclarLM
from declarlm.api.merging import merge_into_base
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
ROWS = pd.DataFrame(
    [
        {"note": f"the {color} cat sat on the {thing}", "color": color, "thing": thing, "size": len(thing)}
        for color in ("red", "white")
        for thing in ("mat", "wine", "film", "food")
    ]
)
WHOLE = {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp("bases") / name) for name, save in BASES.items()}


@pytest.fixture(params=BASES)
def backbone(request, bases):
    return open_backbone(bases[request.param])


@pytest.mark.parametrize("batched", [True, False])
def test_loss_and_gradients_equal_transformers(backbone, batched):
    model = backbone.load_causal().requires_grad_(True)
    pairs = random_rows(backbone)
    expected = plain_loss(model, backbone, pairs, batched=batched)
    expected.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    module = build_causal(model)
    module.train(batched)  # it has no dropout: only the way changes in which equal prompts are read
    loss = module.losses(collate(module, *as_ragged(backbone, pairs)))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-3, atol=1e-4)


def test_labels_that_transformers_shifts_itself_give_the_same_loss(bases):
    """T5 starts from its padding: then no decoder input has to be named."""
    backbone = open_backbone(bases["t5"])
    model = backbone.load_causal()
    read, written = random_rows(backbone)[0]
    expected = model(input_ids=torch.tensor([read]), labels=torch.tensor([written])).loss
    module = build_causal(model)
    found = module.losses(collate(module, *as_ragged(backbone, [(read, written)]))) / len(written)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("budget", [1, 10_000])
def test_answers_equal_transformers(backbone, beams, budget):
    model = varied(backbone)
    pairs = [(read, []) for read, _ in random_rows(backbone, [(9, 0), (3, 0), (14, 0), (6, 0), (9, 0)])]
    starts = backbone.between[backbone.between.index(BORDER) + 1 :]
    expected = []
    for read, _ in pairs:
        config = hf.GenerationConfig(
            max_new_tokens=12,
            do_sample=False,
            num_beams=beams,
            eos_token_id=sorted(STOPS),
            pad_token_id=0,
            decoder_start_token_id=starts[0],
        )
        begun = torch.tensor([starts])
        output = model.generate(input_ids=torch.tensor([read]), decoder_input_ids=begun, generation_config=config)
        expected.append(output[0, len(starts) :].tolist())
    found = generate(
        build_causal(model),
        as_ragged(backbone, pairs)[0],
        stop_ids=STOPS,
        max_new_tokens=12,
        settings=Generation(num_beams=beams),
        token_budget=budget,
    )
    assert found == expected
    assert len(set(map(tuple, found))) > 2


def test_answers_that_go_on_from_known_tokens_equal_transformers(backbone):
    """As the second of several outputs does, whose text before it has another length in each row."""
    model = varied(backbone)
    pairs = random_rows(backbone)
    starts = list(backbone.between[backbone.between.index(BORDER) + 1 :])
    expected = []
    for read, written in pairs:
        begun = torch.tensor([[*starts, *written]])
        config = hf.GenerationConfig(max_new_tokens=8, eos_token_id=sorted(STOPS), pad_token_id=0)
        config.decoder_start_token_id = starts[0]
        output = model.generate(input_ids=torch.tensor([read]), decoder_input_ids=begun, generation_config=config)
        expected.append(output[0, begun.shape[1] :].tolist())
    ids, _ = as_ragged(backbone, pairs)
    assert generate(build_causal(model), ids, stop_ids=STOPS, max_new_tokens=8) == expected


@pytest.mark.parametrize("budget", [1, 10_000])
def test_label_scores_are_the_log_probabilities_of_transformers(backbone, budget):
    model = varied(backbone)
    labels = [[40, 41, 1], [40, 1], [55, 60, 61, 1]]
    reads = [read for read, _ in random_rows(backbone)]
    expected = [
        [-float(plain_loss(model, backbone, [(read, label)], batched=True)) for label in labels] for read in reads
    ]
    ids, _ = as_ragged(backbone, [(read, []) for read in reads])
    found = score_labels(build_causal(model), ids, labels, token_budget=budget)
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-4, atol=1e-4)


def test_a_prompt_is_read_once_for_all_labels(backbone, monkeypatch):
    module = build_causal(backbone.load_causal())
    seen = []
    encode = module.head.encode
    monkeypatch.setattr(module.head, "encode", lambda ids, mask: seen.append(len(ids)) or encode(ids, mask))
    ids, _ = as_ragged(backbone, [(read, []) for read, _ in random_rows(backbone)])
    score_labels(module, ids, [[40, 1], [41, 1], [42, 43, 1]])
    assert seen == [4]


def config(base, *outputs, **more):
    kinds = {"color": "category", "thing": "text", "size": "number"}
    return {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": name, "type": kinds[name]} for name in outputs],
        "adapter": {"type": "lora", "r": 8, "dropout": 0.0},
        "trainer": {"train_steps": 4, "batch_size": 8, "learning_rate": 0.02},
        "preprocessing": WHOLE,
        **more,
    }


@pytest.mark.parametrize("family", BASES)
def test_rows_are_what_the_tokenizer_makes_of_prompt_and_answer(family, bases, tmp_path):
    backbone = open_backbone(bases[family])
    model = DeclarLM(config(bases[family], "thing")).train(ROWS, output=tmp_path).model._ready()
    row = model.encode(ROWS).tokens.ids[0].tolist()
    border = row.index(BORDER)
    assert row[:border] == backbone.tokenizer("the red cat sat on the mat").input_ids
    start = {"t5": 0, "bart": 2}[family]  # BART's own <s> comes behind it
    assert row[border + 1 :] == [start, *backbone.tokenizer("mat").input_ids]
    assert model.encoder.decode([token for token in row[border + 1 :] if token not in (0, 2)]) == "mat"


@pytest.mark.parametrize("family", BASES)
def test_one_config_trains_scores_writes_and_comes_back(family, bases, tmp_path):
    result = DeclarLM(config(bases[family], "color", "size", "thing")).train(ROWS, output=tmp_path, name="run")
    found = result.model.predict(ROWS)
    assert found["color_predictions"].isin(["red", "white"]).all()
    sums = found["color_probabilities_red"] + found["color_probabilities_white"]
    assert sums.tolist() == pytest.approx([1.0] * len(ROWS), abs=1e-5)
    pd.testing.assert_frame_equal(found, DeclarLM.load(result.directory).predict(ROWS))
    metrics = result.model.evaluate(ROWS).metrics
    assert metrics["thing"]["perplexity"] == pytest.approx(np.exp(metrics["thing"]["loss"]), rel=1e-5)


def test_a_t5_learns_its_rows_by_lora_on_q_and_v_over_8_bits(bases, tmp_path):
    settings = config(
        bases["t5"],
        "color",
        adapter={"type": "lora", "r": 8, "dropout": 0.0, "target_modules": ["q", "v"]},
        quantization={"bits": 8},
        trainer={"train_steps": 60, "batch_size": 8, "learning_rate": 0.03},
    )
    result = DeclarLM(settings).train(ROWS, output=tmp_path, name="run")
    module = result.model._ready().module
    kinds = {type(part).__name__ for part in module.modules()}
    assert "Linear8bitLt" in kinds
    adapted = {name.rpartition(".")[2] for name, part in module.named_modules() if hasattr(part, "lora_A")}
    assert adapted == {"q", "v"}
    found = DeclarLM.load(result.directory).predict(ROWS)
    assert found["color_predictions"].tolist() == ROWS["color"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("family", BASES)
def test_all_weights_train_and_overfit(family, bases, tmp_path):
    settings = config(bases[family], "thing", adapter=None)
    settings["trainer"] = {"train_steps": 70, "batch_size": 8, "learning_rate": 0.003}
    result = DeclarLM(settings).train(ROWS, output=tmp_path, name="run")
    assert DeclarLM.load(result.directory).predict(ROWS)["thing_predictions"].tolist() == ROWS["thing"].tolist()


@pytest.mark.parametrize("family", BASES)
def test_a_merged_adapter_answers_the_same(family, bases, tmp_path):
    result = DeclarLM(config(bases[family], "color")).train(ROWS, output=tmp_path, name="run")
    found = result.model.predict(ROWS)
    changed = merge_into_base(result.directory, tmp_path / "merged")
    assert 0 < changed.largest_difference < 1e-3
    merged = DeclarLM.load(tmp_path / "merged").predict(ROWS)
    assert np.abs(merged["color_probability"] - found["color_probability"]).max() < 1e-4


def test_text_that_is_too_long_is_cut_for_the_encoder_alone(bases, tmp_path):
    """An answer takes no room from its prompt."""
    rows = ROWS.assign(note=[" ".join([note] * 12) for note in ROWS["note"]])
    settings = config(bases["t5"], "thing")
    model = DeclarLM(settings).train(rows, output=tmp_path).model._ready()
    store = model.encode(rows)
    reads = [row.tolist().index(BORDER) for row in store.tokens.ids]
    assert max(reads) == 64 - 3 + 1  # the context without what is between, and with the closing token
    assert (store.tokens.num_cut > 0).all()
    assert [row.tolist() for row in model.prompts(rows).ids] == [
        row[: row.tolist().index(BORDER) + 2].tolist() for row in store.tokens.ids
    ]


@pytest.mark.parametrize("kind", ["pretrain", "dpo", "orpo", "kto", "grpo"])
def test_an_objective_that_joins_prompt_and_answer_is_refused_before_the_base_is_loaded(kind, bases, monkeypatch):
    monkeypatch.setattr("declarlm.models.prompted.open_backbone", lambda name: pytest.fail("the base was opened"))
    more = {"rewards": ["exact_match"]} if kind == "grpo" else {}
    settings = config(bases["t5"], *(["thing"] if kind != "pretrain" else []), trainer={"type": kind, **more})
    rows = ROWS.assign(rejected="wine", label=[True, False] * 4)
    with pytest.raises(ConfigError) as caught:
        DeclarLM(settings).train(rows)
    assert str(caught.value) == (
        f"config: trainer.type: {kind!r} is not for {bases['t5']!r}, whose encoder reads the prompt; write finetune, "
        "or choose a base_model that is a decoder alone"
    )


def test_zero_shot_labels_are_scored_against_a_prompt_without_content(bases):
    settings = config(bases["t5"], "color", adapter=None, trainer={"type": "none"})
    settings["output_features"][0] |= {"decoder": {"score": "prior"}, "preprocessing": {"labels": ["red", "white"]}}
    found = DeclarLM(settings).predict(ROWS)
    assert found["color_probability"].between(0.5, 1).all()


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(bases, tmp_path, monkeypatch):
    from declarlm.api import resume_training
    from declarlm.training import Trainer
    from declarlm.training.interrupts import StoppedError

    settings = config(bases["t5"], "thing")
    settings["trainer"] |= {"steps_per_checkpoint": 1}
    whole = DeclarLM(settings).train(ROWS, output=tmp_path, name="whole").model.predict(ROWS)
    step = Trainer._train_step

    def stop(trainer):
        if trainer.state.step == 2:
            raise KeyboardInterrupt
        step(trainer)

    monkeypatch.setattr(Trainer, "_train_step", stop)
    with pytest.raises(StoppedError):
        DeclarLM(settings).train(ROWS, output=tmp_path, name="stopped")
    monkeypatch.setattr(Trainer, "_train_step", step)
    pd.testing.assert_frame_equal(resume_training(tmp_path / "stopped", dataset=ROWS).model.predict(ROWS), whole)


@pytest.mark.parametrize("family", BASES)
def test_answers_with_several_words_come_back_from_their_tokens(family, bases, tmp_path):
    model = DeclarLM(config(bases[family], "color", "thing")).train(ROWS, output=tmp_path).model._ready()
    for name, text in (("color", "dark red wine"), ("thing", "the mat, and 2 films!")):
        ids = model.encoder.answer_ids(name, text, last=False)
        assert model.encoder.decode(ids, name) == text
    (row,) = model.encode(ROWS[:1]).tokens.ids
    written = row.tolist()[row.tolist().index(BORDER) + 1 :]
    answered = [*model.encoder.literals[0], *model.encoder.answer_ids("color", "red", last=False)]
    answered += [*model.encoder.literals[1], *model.encoder.answer_ids("thing", "mat", last=True)]
    assert written[len(written) - len(answered) :] == answered


def test_micro_batches_are_bounded_by_tokens_and_change_nothing(bases, tmp_path, monkeypatch):
    """Rows are padded on both sides, so that places are at most twice the tokens that are counted."""
    from declarlm.layers.seq2seq_model import Seq2SeqModel

    rows, budget, seen = ROWS.assign(note=ROWS["note"] + [" and the mat" * (row % 3) for row in range(8)]), 80, []
    make = Seq2SeqModel.make_batch

    def watched(model, ids, *args, **options):
        batch = make(model, ids, *args, **options)
        if model.training:
            seen.append((len(ids), sum(batch.inputs[name].numel() for name in ("input_ids", "read_ids"))))
        return batch

    monkeypatch.setattr(Seq2SeqModel, "make_batch", watched)
    losses = []
    for most in (budget, 100_000):
        settings = config(bases["t5"], "thing")
        settings["trainer"] |= {"max_tokens_per_micro_batch": most, "precision": "fp32"}
        losses.append(DeclarLM(settings).train(rows, output=tmp_path).model.evaluate(rows).metrics["thing"]["loss"])
        if most == budget:
            assert max(places for _, places in seen) <= 2 * budget
            assert {count for count, _ in seen} != {8}
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert (8, seen[-1][1]) == seen[-1]
