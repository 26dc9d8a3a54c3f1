"""Tune a real model in a process that kills itself.

Usage: ``killed_adapter.py BASE DIRECTORY KIND``. Runs once without interruption and once with two SIGKILLs, each in a
fork of its own, and prints a hash of the trained weights for both.
"""

import hashlib
import os
import signal
import sys
from typing import Any

import pandas as pd
import torch

from declarlm import DeclarLM

WORDS = [(color, animal) for color in ("red", "blue", "green", "black") for animal in ("cat", "dog", "bird", "fish")]
ROWS = pd.DataFrame([{"note": f"The {color} {animal} sat.", "color": color} for color, animal in WORDS * 3])
KINDS: dict[str, dict[str, Any]] = {
    "adalora": {"adapter": {"type": "adalora", "r": 4}},
    "qlora": {"adapter": {"type": "qlora", "r": 8, "dropout": 0.1}},
}


class Killer:
    """Progress that ends its process at a step."""

    def __init__(self, step: int | None) -> None:
        self.last = step

    def step(self, report: Any) -> None:
        if self.last is not None and report.step >= self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def evaluation(self, evaluation: Any) -> None:
        pass

    def about(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def tune(base: str, directory: str, kind: str, name: str, kill_at: int | None) -> None:
    trainer = {"epochs": 4, "batch_size": 4, "learning_rate": 5e-3, "steps_per_checkpoint": 5}
    config = {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "text"}],
        "trainer": {**trainer, "precision": "bf16", "optimizer": "paged_adamw_8bit"},
        "generation": {"max_new_tokens": 2},
        **KINDS[kind],
    }
    run = os.path.join(directory, name)  # noqa: PTH118
    resume = {"resume": run} if os.path.exists(run) else {"name": name}  # noqa: PTH110
    model = DeclarLM(config, device="cpu")
    model.train(ROWS, output=directory, progress=Killer(kill_at), **resume)
    digest = hashlib.sha256()
    for weight in model._model.module.parameters():
        if weight.requires_grad:
            digest.update(weight.detach().numpy().tobytes())
    print(name, digest.hexdigest(), flush=True)


torch.set_num_threads(1)
import peft  # noqa: E402, F401

import declarlm.api  # noqa: E402, F401

for name, kill_at in (("whole", None), ("killed", 8), ("killed", 22), ("killed", None)):
    child = os.fork()
    if child == 0:
        tune(*sys.argv[1:], name, kill_at)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
