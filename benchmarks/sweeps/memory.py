"""Run one trial and then two side by side on Ray, over a small base and one 400 MB larger, and read their memory.

python benchmarks/sweeps/memory.py FOLDER

The memory of a process is its proportional set size: a page that n processes share counts 1 / n for each. The last
line of the output is JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from transformers import AutoModelForCausalLM

from declarlm import DeclarLM
from declarlm.backbones import Architecture, from_scratch
from declarlm.backbones.architecture import Tokenizer

ROWS = pd.DataFrame({"text": [f"say {color} now" for color in ("red", "blue")] * 40, "color": ["red", "blue"] * 40})
SHAPES = {"small": {"hidden_size": 256, "num_layers": 2}, "large": {"hidden_size": 2048, "num_layers": 2}}


def make_base(folder: Path, shape: dict[str, int], dtype: str) -> int:
    """Make a base with random weights, stored in a type, and return its bytes as float32."""
    tokenizer = Tokenizer(vocab_size=300)
    heads = {"num_heads": 8, "intermediate_size": 6 * shape["hidden_size"], "context_length": 64}
    from_scratch(Architecture(**shape, **heads, tokenizer=tokenizer), list(ROWS.text), 7, folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.save_pretrained(folder)
    return 4 * sum(weight.numel() for weight in model.parameters())


class Meter:
    """Watches a sweep and keeps the largest memory of the processes of its trials, together, in MB."""

    def __init__(self) -> None:
        self.megabytes = 0.0
        self.processes = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        yield

    def show(self, _: Any) -> None:
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if "DeclarlmTrial" in process.name() or "DeclarlmTrial" in " ".join(process.cmdline()):
                    found.append(process.memory_full_info().pss / 2**20)
            except psutil.Error:
                continue
        if sum(found) > self.megabytes:
            self.megabytes, self.processes = sum(found), len(found)


def measure(base: Path, output: Path, concurrent: int) -> Meter:
    """Return the meter of a sweep of four trials."""
    config = {
        "base_model": str(base),
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": {"type": "lora", "target_modules": ["q_proj"], "r": 2},
        "trainer": {
            "train_steps": 12,
            "batch_size": 2,
            "eval_steps": 2,
            "early_stop": -1,
            "max_tokens_per_micro_batch": 16,
        },
        "hyperopt": {
            "parameters": {"trainer.learning_rate": {"space": "grid_search", "values": [1e-4, 2e-4, 3e-4, 4e-4]}},
            "executor": {"type": "ray", "max_concurrent_trials": concurrent},
        },
    }
    meter = Meter()
    DeclarLM(config).hyperopt(ROWS, output=output, watcher=meter)
    return meter


def main() -> None:
    """Measure and print."""
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")
    found: dict[str, Any] = {}
    for dtype in ("float32", "bfloat16"):
        more = {}
        for name, shape in SHAPES.items():
            base = folder / f"{name}-{dtype}"
            size = make_base(base, shape, dtype) / 2**20
            one, two = (measure(base, folder / "runs", concurrent) for concurrent in (1, 2))
            more[name] = {
                "base_mb": round(size),
                "one_trial_mb": round(one.megabytes),
                "two_trials_mb": round(two.megabytes),
                "processes": [one.processes, two.processes],
                "one_more_mb": round(two.megabytes - one.megabytes),
            }
        growth = more["large"]["one_more_mb"] - more["small"]["one_more_mb"]
        grown = more["large"]["base_mb"] - more["small"]["base_mb"]
        found[dtype] = {**more, "base_grows_mb": grown, "one_more_grows_mb": growth, "held": growth <= 40}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
