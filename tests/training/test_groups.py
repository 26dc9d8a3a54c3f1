"""Two processes that train together, without Ray: whatever trains, the losses are those of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from declarlm import DeclarLM
from declarlm.run import create_run, open_run
from declarlm.training.progress import Silent
from tests.small_bases import save_tiny_llama

TRAINER = {"type": "finetune", "epochs": 2, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32"}
LORA = {"type": "lora", "dropout": 0}
DPO = {**TRAINER, "type": "dpo", "rejected_column": "other", "learning_rate": 0.001}
KTO = {**TRAINER, "type": "kto", "label_column": "good", "learning_rate": 0.001}
ANSWER = [{"name": "first", "type": "text"}]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "an adapter, replicated": ("Replicated", {"adapter": LORA}),
    "an adapter, split": ("Sharded", {"adapter": LORA}),
    "all weights, split": ("Sharded", {"adapter": None, "trainer": {**TRAINER, "learning_rate": 0.001}}),
    "DoRA, split and recomputed": (
        "Sharded",
        {"adapter": {**LORA, "type": "dora"}, "trainer": {**TRAINER, "enable_gradient_checkpointing": True}},
    ),
    "preferences, replicated": ("Replicated", {"adapter": LORA, "trainer": DPO, "output_features": ANSWER}),
    "judgements, replicated": ("Replicated", {"adapter": LORA, "trainer": KTO, "output_features": ANSWER}),
    "judgements, split": ("Sharded", {"adapter": LORA, "trainer": KTO, "output_features": ANSWER}),
    "preferences, split": ("Sharded", {"adapter": LORA, "trainer": DPO, "output_features": ANSWER}),
}
TOGETHER = """
import json, sys
from pathlib import Path
from torch import distributed
from declarlm.api.spreading import Training
from declarlm.backends import Seat
from declarlm.training import group, sharding
from declarlm.training.progress import Silent

folder, rank = Path(sys.argv[1]), int(sys.argv[2])
distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
for kind, config, directory in json.loads((folder / "cases.json").read_text()):
    members = {"Replicated": group.Replicated, "Sharded": sharding.Sharded}[kind]("cpu")
    rows = {"dataset": str(folder / "rows.csv")}
    for _ in Training(config, rows, Path(directory))(Seat(members, "cpu", Silent())):
        pass
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """The directories of each case: trained by one process, and by two."""
    folder = tmp_path_factory.mktemp("groups")
    words = ["red", "green", "blue", "black"]
    texts = [" ".join(words[(row + place) % 4] for place in range(row % 5 + 1)) for row in range(40)]
    rows = {"text": texts, "first": [text.split()[0] for text in texts], "other": [text + "?" for text in texts]}
    rows["good"] = [row % 3 == 0 for row in range(40)]
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False)
    base = {
        "model_type": "llm",
        "base_model": save_tiny_llama(folder / "tiny"),
        "prompt": {"template": "{text}: "},
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "first", "type": "category"}],
        "trainer": TRAINER,
    }
    found, cases = {}, []
    for name, (kind, changes) in CASES.items():
        model = DeclarLM({**base, **changes}, device="cpu")
        alone = model.train(str(folder / "rows.csv"), output=folder / "alone", progress=Silent())
        with create_run(folder / "together", "run") as run:
            run.write_config({**base, **changes}, model.config.dump())
        found[name] = (alone.directory, run.directory)
        cases.append([kind, model.document.data, str(run.directory)])
    (folder / "cases.json").write_text(json.dumps(cases))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", TOGETHER, str(folder)]
    members = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(2)]
    try:
        assert [member.wait(timeout=300) for member in members] == [0, 0]
    finally:
        for member in members:  # one that failed would leave the other waiting
            member.kill()
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_losses_of_one(runs, case):
    alone, together = (
        [line["loss"] for line in open_run(directory).metrics() if line["kind"] == "step"] for directory in runs[case]
    )
    assert len(alone) == 8
    assert min(alone[1:]) < alone[0]
    assert together == pytest.approx(alone, rel=1e-5)
