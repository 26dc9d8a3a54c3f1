"""The starter base: what it is made from, and what ships."""

import csv
import json
import random
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "starter_base"
STARTER = ROOT / "declarlm" / "backbones" / "starter"


@pytest.fixture(scope="module")
def corpus() -> Iterator[SimpleNamespace]:
    """The modules of the corpus builder, imported as its script does it."""
    before = set(sys.modules)
    sys.path.insert(0, str(EXAMPLE))
    yield SimpleNamespace(
        tasks=SimpleNamespace(**runpy.run_path(str(EXAMPLE / "tasks.py"))),
        documentation=SimpleNamespace(**runpy.run_path(str(EXAMPLE / "documentation.py"))),
        sentences=SimpleNamespace(**runpy.run_path(str(EXAMPLE / "sentences.py"))),
    )
    sys.path.remove(str(EXAMPLE))
    for name in {"values", "vocabulary", "sentences", "tasks", "documentation"} - before:
        sys.modules.pop(name, None)


def test_tasks_depend_on_the_seed_alone(corpus):
    first, again, other = ([corpus.tasks.task(random.Random(seed)) for _ in range(3)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_kind_of_task_makes_text(corpus):
    for function in corpus.tasks.TASKS:
        texts = [function(random.Random(seed)) for seed in range(50)]
        assert all(text.strip() and not re.search(r"\{\w+:\w+\}", text) for text in texts), function.__name__


def test_json_answers_are_json_and_hold_only_what_the_text_says(corpus):
    found = 0
    for seed in range(300):
        text = corpus.tasks.extract_slots(random.Random(seed))
        for request, answer in re.findall(r"Request: (.*)\nJSON: (.*)", text):
            slots = {key: value for key, value in json.loads(answer).items() if key != "intent"}
            assert all(str(value) in request for value in slots.values())
            found += 1
    assert found > 300


def test_records_leave_out_the_keys_that_the_text_is_silent_about(corpus):
    text, record = corpus.sentences.describe(random.Random(3), "ship", ["name", "built"])
    assert list(record) == ["name", "built"]
    assert all(str(value) in text for value in record.values())


def test_the_documentation_that_the_quickstart_tests_on_is_held_out(corpus):
    part_of = runpy.run_path(str(ROOT / "examples" / "quickstart" / "documentation.py"))["part_of"]
    docstrings = [f"Return the {index}th item." for index in range(500)]
    held_out = [text for text in docstrings if corpus.documentation.is_held_out(text)]
    assert held_out == [text for text in docstrings if part_of(text) == "test"]
    assert 20 < len(held_out) < 80


def windows(text: str, size: int = 8) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[start : start + size]) for start in range(len(words) - size + 1)}


def cells(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield from row.values()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from (str(cell) for cell in json.loads(line).values() if isinstance(cell, str))


def test_generated_tasks_share_no_eight_words_and_no_label_with_the_test_sets(corpus, shared):
    generated = [corpus.tasks.task(random.Random(seed)) for seed in range(3000)]
    ours = set().union(*map(windows, generated))
    for name in ("snips", "banking77", "sms_spam", "e2e_extraction", "stsb_en"):
        theirs = set().union(*map(windows, cells(shared / "data" / name)))
        assert ours & theirs == set(), name
    lines = (shared / "data/snips/test.jsonl").read_text(encoding="utf-8").splitlines()
    intents = {json.loads(line)["intent"] for line in lines}
    with (shared / "data/banking77/test.csv").open(encoding="utf-8", newline="") as file:
        intents |= {row["label"] for row in csv.DictReader(file)}
    text = "\n".join(generated)
    assert [label for label in sorted(intents) if re.search(rf"\b{re.escape(label)}\b", text)] == []


def test_the_starter_ships_small_and_in_half_precision():
    from safetensors import safe_open

    files = sorted(path.name for path in STARTER.iterdir())
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert sum(path.stat().st_size for path in STARTER.iterdir()) <= 10_000_000
    assert "$" not in (STARTER / "README.md").read_text(encoding="utf-8")
    with safe_open(STARTER / "model.safetensors", "pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118
    assert {str(tensor.dtype) for tensor in tensors} == {"torch.float16"}
    assert 3_000_000 <= sum(tensor.numel() for tensor in tensors) <= 5_000_000


@pytest.mark.parametrize("text", ["Plain words.", '{"a": [1, 2.5], "b": "ø €"}\n\tend  ', "日本語 🙂 \x00\x7f"])
def test_the_starter_writes_any_text(text):
    from declarlm.backbones import open_backbone

    tokenizer = open_backbone("starter").tokenizer
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_starter_reads_better_than_chance():
    import torch

    from declarlm.backbones import open_backbone

    backbone = open_backbone("starter")
    model = backbone.load_causal()
    text = "Return a new list that contains the items of the iterable in ascending order."
    ids = torch.tensor([backbone.tokenizer.encode(text)])
    with torch.inference_mode():
        loss = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1].float(), ids[0, 1:]).item()
    assert loss < 5.0  # A uniform guess over 4,096 tokens is at 8.3.
