"""Pretraining: raw text in pieces, its lines, and what is forgotten of other text."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from declarlm import DataError, DeclarLM, load_config
from declarlm.backbones.architecture import EOS
from declarlm.core import ConfigError
from declarlm.training.progress import Lines, Silent
from tests.small_bases import TEXTS

GENERAL = ["good bread and red wine", "the mat was white"]
LINES = ["the film was", "bad", "", "white cat", "red mat "] * 12


def config(base, **changes):
    trainer = {"type": "pretrain", "epochs": 2, "batch_size": 4, "learning_rate": 0.01, "sequence_length": 16}
    return {
        "base_model": base,
        "input_features": [{"name": "text", "type": "text"}],
        "adapter": {"type": "lora", "dropout": 0},
        "preprocessing": {"split": {"type": "sequential"}},
        **changes,
        "trainer": {**trainer, **changes.get("trainer", {})},
    }


def plain_loss(backbone, tokenizer, texts, stop, size):
    """The mean loss of the next token, from whole logits, of texts laid end to end and cut."""
    tokens = [token for text in texts for token in [*tokenizer(text)["input_ids"], stop]]
    total, count = 0.0, 0
    for start in range(0, len(tokens), size):
        ids = torch.tensor([tokens[start : start + size]])
        if ids.shape[1] > 1:
            shares = backbone(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
            total -= shares.gather(1, ids[0, 1:, None]).sum().item()
            count += ids.shape[1] - 1
    return total / count, count


def test_lines_are_one_text(tiny, tmp_path):
    loaded = load_config(config(tiny, trainer={"rows": "lines"}))
    model, objective = loaded.build(), loaded.trainer.build()
    table = pd.DataFrame({"text": LINES})
    table.loc[2, "text"] = None  # as a blank line of a text file is read
    model.learn(table)
    model.open(table, seed=1, folder=tmp_path)
    ids = np.concatenate(list(objective.store(model, table).tokens.ids)).tolist()
    plain = model.backbone.tokenizer("\n".join(LINES))["input_ids"]
    stop = model.encoder.stop_id
    assert ids == [*plain, stop]
    assert model.backbone.tokenizer.decode(plain, skip_special_tokens=True) == "\n".join(LINES)
    documents = load_config(config(tiny)).trainer.build().store(model, table)
    assert np.concatenate(list(documents.tokens.ids)).tolist().count(stop) == len(LINES)


@pytest.mark.parametrize("parses", [True, False])
def test_chat_markers_in_a_text_become_tokens_where_the_config_says_so(tiny, tmp_path, parses):
    settings = config(tiny)
    settings["input_features"][0]["preprocessing"] = {"parse_special_tokens": parses}
    loaded = load_config(settings)
    model, table = loaded.build(), pd.DataFrame({"text": [f"the red mat{EOS}the cat"] * 3})
    model.learn(table)
    model.open(table, seed=1, folder=tmp_path)
    ids = np.concatenate(list(loaded.trainer.build().store(model, table).tokens.ids)).tolist()
    assert model.backbone.tokenizer.convert_tokens_to_ids(EOS) == model.encoder.stop_id
    assert ids.count(model.encoder.stop_id) == 3 + 3 * parses
    closed = table.assign(text=[f"the red mat{EOS}the cat{EOS * parses}", "", f"the red mat{EOS}the cat"])
    ids = np.concatenate(list(loaded.trainer.build().store(model, closed).tokens.ids)).tolist()
    assert ids.count(model.encoder.stop_id) == 3 + 2 * parses


@pytest.mark.parametrize("adapter", [{"type": "lora", "dropout": 0}, None])
def test_the_loss_on_general_text_is_known_before_and_after(tiny, tmp_path, adapter, capfd):
    from transformers import AutoModelForCausalLM

    (tmp_path / "general.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in GENERAL))
    settings = config(tiny, adapter=adapter, trainer={"forgetting": str(tmp_path / "general.jsonl")})
    table = pd.DataFrame({"text": TEXTS * 4})
    result = DeclarLM(settings).train(table, output=tmp_path, progress=Lines())
    found = result.metrics["general"]["forgetting"]
    model = result.model._ready()
    tokenizer, stop = model.backbone.tokenizer, model.encoder.stop_id
    base = AutoModelForCausalLM.from_pretrained(tiny)
    before, count = plain_loss(base, tokenizer, GENERAL, stop, 64)
    after, _ = plain_loss(model.module.backbone, tokenizer, GENERAL, stop, 64)
    assert found["base_loss"] == pytest.approx(before, abs=1e-5)
    assert found["loss"] == pytest.approx(after, abs=1e-5)
    assert found["rise"] == pytest.approx(after - before, abs=1e-5)
    assert abs(after - before) > 1e-3
    assert result.history["metrics.forgetting.base_loss"].tolist() == [found["base_loss"]] * 2
    assert len(set(result.history["metrics.forgetting.loss"])) == 2
    shown = capfd.readouterr().err
    assert f"loss on {count} tokens of general text: base {before:.4f}, tuned {after:.4f}" in " ".join(shown.split())
    assert json.loads((result.directory / "results.json").read_text())["general"]["forgetting"] == found
    compared = DeclarLM.load(result.directory).compare(table)
    assert compared.forgetting.base == pytest.approx(before, abs=1e-5)
    assert compared.forgetting.tuned == pytest.approx(after, abs=1e-5)
    assert compared.metrics["tuned"]["combined"]["loss"] < compared.metrics["base"]["combined"]["loss"]


def test_general_text_may_be_a_column_or_the_lines_of_a_file(tiny, tmp_path):
    table = pd.DataFrame({"text": TEXTS * 4})
    table["other"] = [*GENERAL, *[None] * (len(table) - 2)]
    column = DeclarLM(config(tiny, trainer={"forgetting": "other"})).train(table, output=tmp_path)
    pd.DataFrame({"text": GENERAL}).to_csv(tmp_path / "general.csv", index=False)
    file = DeclarLM(config(tiny, trainer={"forgetting": str(tmp_path / "general.csv")})).train(table, output=tmp_path)
    assert column.metrics["general"] == file.metrics["general"]
    (tmp_path / "general.txt").write_text("\n".join(GENERAL))
    lines = DeclarLM(config(tiny, trainer={"forgetting": str(tmp_path / "general.txt")})).train(table, output=tmp_path)
    assert lines.metrics["general"] != file.metrics["general"], "its lines are one text"


def test_the_loss_before_is_that_of_the_base_after_a_resume_too(tiny, tmp_path):
    from declarlm.core.errors import RunError

    class Stops(Silent):
        def evaluation(self, evaluation):
            raise RunError("enough")

    table = pd.DataFrame({"text": TEXTS * 4}).assign(other=GENERAL[0])
    settings = config(tiny, trainer={"forgetting": "other"})
    whole = DeclarLM(settings).train(table, output=tmp_path, name="whole", progress=Silent())
    with pytest.raises(RunError, match="enough"):
        DeclarLM(settings).train(table, output=tmp_path, name="stopped", progress=Stops())
    resumed = DeclarLM(settings).train(table, resume=tmp_path / "stopped", progress=Silent())
    assert resumed.metrics == whole.metrics


def test_general_text_that_cannot_be_read_is_an_error_before_anything_is_made(tiny, tmp_path):
    table = pd.DataFrame({"text": TEXTS}).assign(empty=" ")
    with pytest.raises(DataError, match=r"^config: trainer\.forgetting: there is no file nowhere"):
        DeclarLM(config(tiny, trainer={"forgetting": "nowhere.csv"})).train(table, output=tmp_path)
    with pytest.raises(DataError, match="column 'empty': has no general text in any row"):
        DeclarLM(config(tiny, trainer={"forgetting": "empty"})).train(table, output=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"trainer": {"forgetting": "text"}},
            "trainer.forgetting",
            "'text' is the column that is learned; name another",
        ),
        (
            {"trainer": {"forgetting": "x"}, "base_model": None, "adapter": None, "architecture": {"type": "llama"}},
            "trainer.forgetting",
            "a model from scratch has nothing to forget; leave it out",
        ),
        (
            {"trainer": {"rows": "lines"}, "preprocessing": {"split": {"type": "random"}}},
            "preprocessing.split.type",
            "would tear the lines of a text apart, got 'random'; write sequential, or rows: documents",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes, path, message):
    with pytest.raises(ConfigError) as error:
        load_config(config("starter", **changes))
    assert [str(problem) for problem in error.value.problems] == [f"{path}: {message}"]
