"""Runs, bases and cells from strangers: nothing in them is run, and what was changed is refused."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_bases import save_tiny_bert, save_tiny_llama

from declarlm import ConfigError, DeclarLM, DeclarlmError, ModelError, RunError
from declarlm.core.errors import RefusedError
from declarlm.core.files import MANIFEST, atomic_folder

ROWS = pd.DataFrame(
    [
        {"note": f"the {color} {animal} sat", "color": color, "animal": animal}
        for color in ("red", "white", "brown")
        for animal in ("dog", "pig", "fox", "cow")
    ]
    * 2
)
NOTE = {"name": "note", "type": "text"}
ANIMAL = {"name": "animal", "type": "category"}
BRIEF = {"train_steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bases")
    return {"llama": save_tiny_llama(folder / "llama"), "bert": save_tiny_bert(folder / "bert")}


@pytest.fixture(scope="module")
def trained(bases, tmp_path_factory) -> dict[str, Any]:
    """A run of each kind, trained on rows in a file."""
    folder = tmp_path_factory.mktemp("runs")
    ROWS.to_json(folder / "rows.jsonl", orient="records", lines=True)
    bert = {"type": "bert", "pretrained_model_name_or_path": bases["bert"]}
    configs: dict[str, dict[str, Any]] = {
        "lora": {"base_model": bases["llama"], "adapter": {"type": "lora", "r": 2}},
        "qlora": {"base_model": bases["llama"], "adapter": {"type": "qlora", "r": 2}},
        "weights": {"base_model": bases["llama"]},
        "bert": {"model_type": "ecd", "input_features": [{**NOTE, "encoder": bert}]},
        "tuned": {"model_type": "ecd", "input_features": [{**NOTE, "encoder": {**bert, "trainable": True}}]},
        "words": {"model_type": "ecd", "input_features": [{**NOTE, "encoder": "tf_idf"}]},
    }
    common = {"input_features": [NOTE], "output_features": [ANIMAL], "trainer": BRIEF}
    return {
        name: DeclarLM({**common, **config}).train(folder / "rows.jsonl", output=folder, name=name)
        for name, config in configs.items()
    }


@pytest.fixture
def copied(trained, tmp_path) -> Callable[[str], Path]:
    """Copies a run, to be spoiled."""

    def copy(name: str) -> Path:
        shutil.copytree(trained[name].directory, tmp_path / name)
        return tmp_path / name

    return copy


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def seal(folder: Path) -> None:
    """Write the manifest anew, as somebody would who changed a model on purpose."""
    os.remove(folder / MANIFEST)  # noqa: PTH107
    with atomic_folder(folder.with_name("sealed")) as made:
        shutil.copytree(folder, made, dirs_exist_ok=True)
    shutil.rmtree(folder)
    folder.with_name("sealed").rename(folder)


def refused(run: Path, kind: type[DeclarlmError]) -> str:
    with pytest.raises(kind) as caught:
        DeclarLM.load(run)
    assert type(caught.value) is kind
    return str(caught.value)


class Bomb:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.mark,)


def test_using_runs_unpickles_nothing_and_starts_and_connects_nothing(trained, copied, tmp_path):
    resumed = copied("lora")
    shutil.rmtree(resumed / "model")
    (resumed / "STATUS").write_text("training\n")
    runs = [*(str(result.directory) for result in trained.values()), f"resume:{resumed}"]
    rows = str(trained["lora"].directory.parent / "rows.jsonl")
    report = tmp_path / "report.json"
    program = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("audited.py"))]
    subprocess.run([*program, str(report), *runs], input=rows, text=True, check=True)
    read = json.loads(report.read_text())
    assert read["found"] == []
    for result in trained.values():
        expected = result.model.predict(ROWS).to_dict("list")
        assert read["predictions"][str(result.directory)] == expected
    assert read["predictions"][f"resume:{resumed}"] == read["predictions"][str(trained["lora"].directory)]


@pytest.mark.parametrize("name", ["adapter_model.bin", "model.pt", "state.pkl", "heads.joblib", "more.safetensors"])
@pytest.mark.parametrize("kind", ["lora", "words"])
def test_a_file_that_was_added_is_refused(copied, tmp_path, kind, name):
    run = copied(kind)
    place = next(path.parent for path in (run / "model").rglob("*.safetensors"))
    (place / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    added = (place / name).relative_to(run / "model")
    assert refused(run, RunError) == f"{run / 'model'} holds {added}, which was not saved with it; remove that file"
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_in_place_of_safe_ones_are_refused(copied, tmp_path):
    adapter = copied("lora") / "model" / "adapter"
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    seal(adapter.parent)
    message = refused(adapter.parents[1], RefusedError)
    assert message.startswith(
        f"{adapter} has no adapter_model.safetensors, and adapter_model.bin is not opened because"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["lora", "weights", "tuned", "words"])
def test_changed_weights_are_found(copied, kind):
    run = copied(kind)
    for path in (run / "model").rglob("*.safetensors"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert refused(run, RunError) == (
            f"{run / 'model'} is damaged: a file does not match its manifest; copy the run again"
        )
        data[-1] ^= 1
        path.write_bytes(data)
    DeclarLM.load(run)


def test_weights_of_another_model_are_found_even_if_the_manifest_fits(copied, trained):
    from safetensors.torch import load_file, save_file

    run = copied("weights")
    path = run / "model" / "weights" / "model.safetensors"
    weights = load_file(path)
    save_file({name: weight * 10 for name, weight in weights.items()}, path, {"format": "pt"})
    seal(run / "model")
    assert re.match(r"the loaded weights score a known row -[\d.]+ instead of -[\d.]+", refused(run, ModelError))


def test_a_base_that_was_changed_is_found(trained, bases, copied, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(bases["llama"], base)
    config = {"base_model": str(base), "adapter": {"type": "lora", "r": 2}, "trainer": BRIEF}
    table = {"input_features": [NOTE], "output_features": [ANIMAL]}
    run = DeclarLM({**config, **table}).train(ROWS, output=tmp_path).directory
    rewrite(base / "config.json", lambda data: data.update(rms_norm_eps=1e-3))
    assert refused(run, ModelError) == (
        f"the base model {base} has changed since this model was trained; restore its files"
    )
    rewrite(base / "config.json", lambda data: data.update(auto_map={"AutoConfig": "evil.py--Evil"}))
    (base / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "'auto_map': the model brings its own Python code, which is not run" in refused(run, RefusedError)
    assert not (tmp_path / "ran").exists()


CHANGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "code": ("weights", "weights/config.json", {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}),
    "kernel": ("weights", "weights/config.json", {"attn_implementation": "somebody/kernel"}),
    "size": ("weights", "weights/config.json", {"intermediate_size": 10**12}),
    "tokenizer code": ("weights", "weights/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.E", None]}}),
    "encoder code": ("tuned", "encoders/0/body/config.json", {"auto_map": {"AutoModel": "evil.Evil"}}),
    "adapter code": ("lora", "adapter/adapter_config.json", {"auto_mapping": {"parent_library": "os"}}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_files_that_choose_code_are_refused_even_if_the_manifest_fits(copied, case):
    kind, name, change = CHANGES[case]
    run = copied(kind)
    rewrite(run / "model" / name, lambda data: data.update(change))
    seal(run / "model")
    assert next(iter(change)) in refused(run, RefusedError)


def test_weights_that_lie_elsewhere_are_refused(copied):
    run = copied("weights")
    weights = run / "model" / "weights"
    (weights / "model.safetensors").rename(run / "elsewhere.safetensors")
    index = {"weight_map": {"lm_head.weight": "../../elsewhere.safetensors"}}
    (weights / "model.safetensors.index.json").write_text(json.dumps(index))
    seal(run / "model")
    assert refused(run, RefusedError).endswith("weights must be .safetensors files in the same folder")


def test_a_manifest_that_points_outside_is_damaged(copied):
    run = copied("words")
    rewrite(run / "model" / MANIFEST, lambda data: data.update({"../features.json": {"size": 1, "sha256": ""}}))
    assert "does not match its manifest" in refused(run, RunError)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda data: data["outputs"]["animal"].update(labels="../../etc/passwd"), ConfigError),
        (lambda data: data["outputs"]["animal"].update(path="../../etc/passwd"), ConfigError),
        (lambda data: data["outputs"].update({"../animal": data["outputs"].pop("animal")}), RunError),
        (lambda data: data.update(outputs=["../animal"]), RunError),
        (lambda data: data.pop("encoders"), RunError),
        (lambda data: data.update(inputs=None), RunError),
    ],
)
def test_states_that_were_changed_are_refused(copied, change, kind):
    run = copied("words")
    rewrite(run / "features.json", change)
    assert "features.json" in refused(run, kind) or kind is ConfigError


def test_states_that_are_no_json_are_damaged(copied):
    run = copied("lora")
    (run / "features.json").write_text("[" * 100_000)
    assert refused(run, RunError).startswith(f"{run / 'features.json'} is damaged: ")


def test_a_config_makes_no_objects(copied):
    run = copied("words")
    path = run / "config.resolved.yaml"
    path.write_text(path.read_text() + "\nseed: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError):
        DeclarLM.load(run)


def test_a_cell_is_never_a_template(trained, bases, tmp_path):
    cells = ["{{ 7*7 }}", "{note}", "{% for x in y %}", "{{ note.__class__ }}", "<|end|> stop"]
    model = trained["lora"].model._model
    table = pd.DataFrame({"note": cells})
    for cell, ids in zip(cells, model.prompts(table).ids, strict=True):
        assert cell in model.backbone.tokenizer.decode(ids.tolist())
        assert model.encoder.stop_id not in ids.tolist()
    answers = ROWS.assign(color="{{ 7*7 }}")
    config = {"base_model": bases["llama"], "adapter": "lora", "trainer": BRIEF, "input_features": [NOTE]}
    written = DeclarLM({**config, "output_features": [{"name": "color", "type": "text"}]}).train(
        answers, output=tmp_path
    )
    row = written.model._model.encode(answers.head(1)).tokens.ids[0]
    assert "{{ 7*7 }}" in written.model._model.backbone.tokenizer.decode(row.tolist())


NASTY = [
    "<script>alert(1)</script>",
    "a | b",
    "`code` _x_",
    "[link](javascript:alert(1))",
    "line\nbreak\n# title",
    "--- x",
]


def test_a_card_shows_names_as_they_are(tmp_path):
    table = ROWS.assign(**dict.fromkeys(NASTY, ROWS["note"]))
    config = {
        "model_type": "ecd",
        "input_features": [{"name": name, "type": "text", "encoder": "tf_idf"} for name in NASTY],
        "output_features": [{"name": "<b>animal|", "column": "animal", "type": "category"}],
        "trainer": BRIEF,
    }
    card = (DeclarLM(config).train(table, output=tmp_path, name="run").directory / "README.md").read_text()
    body = card.split("---\n", 2)[2]
    plain = re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", body, flags=re.DOTALL))
    assert "<" not in plain
    assert "javascript" not in plain
    assert [line for line in body.splitlines() if line.startswith("#")] == ["# run"]
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert len(rows) > 3
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {6}


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_runs_name_cannot_leave_its_folder(tmp_path, name):
    config = {"model_type": "ecd", "input_features": [NOTE], "output_features": [ANIMAL], "trainer": BRIEF}
    with pytest.raises(RunError, match="cannot be a name; use up to 64 of"):
        DeclarLM(config).train(ROWS, output=tmp_path / "runs", name=name)
    assert not list(tmp_path.iterdir())
