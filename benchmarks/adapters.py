"""Train every adapter on the same rows by its own defaults: what it scores, costs and holds.

python benchmarks/adapters.py [NAME ...]        (make benchmark-adapters)

Each adapter has a process of its own, so that its peak memory is its own. The rows are the intents of SNIPS: 2,000 to
train on, 350 that decide which weights are best, 700 to judge. ``none`` is the base as it is, asked without training.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from quality import RESULTS, ROOT, commit, machine

DATA = Path(os.environ.get("DECLARLM_SHARED", ROOT.parent / "shared")) / "data" / "snips"
TRAIN, VALIDATION, OUTPUT = 2000, 350, "intent"
CONFIG = {
    "base_model": "starter",
    "input_features": [{"name": "text", "type": "text"}],
    "output_features": [{"name": OUTPUT, "type": "category"}],
    "prompt": {"template": "Request: {{ text }}\nIntent:"},
}


def rows(part: str, number: int | None) -> Any:
    """Return some rows of a part, always the same."""
    from declarlm.data.tables import read_table

    table = read_table(DATA / f"{part}.jsonl")
    return table if number is None else table.sample(number, random_state=0).reset_index(drop=True)


def measure(kind: str) -> dict[str, Any]:
    """Train and judge one adapter in this process."""
    from declarlm import DeclarLM
    from declarlm.run import Run
    from declarlm.training.progress import Silent

    trains = kind != "none"
    config = {**CONFIG, "adapter": kind if trains else None, "trainer": {"type": "finetune" if trains else "none"}}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tables = {"validation": rows("dev", VALIDATION), "test": rows("test", None)}
        result = DeclarLM(config).train(rows("train", TRAIN), **tables, output=folder, progress=Silent())
        trained = Run(result.directory).read("data")["weights"]["trained"]
    return {
        "adapter": kind,
        "accuracy": result.metrics["test"][OUTPUT]["accuracy"],
        "log_loss": result.metrics["test"][OUTPUT]["log_loss"],
        "seconds": time.perf_counter() - started,
        "weights": trained if trains else 0,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def in_a_process(kind: str) -> dict[str, Any]:
    """Measure one adapter in a new process."""
    command = [sys.executable, __file__, "--one", kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1]
        return {"adapter": kind, "refused": re.sub(r"^.*Error: ", "", last)}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return the results for people."""
    facts = machine()
    lines = [
        "# Every adapter on the same rows",
        "",
        f"Made by `make benchmark-adapters` at {commit()} on {facts['processor']} (cores: {facts['cores']}): the",
        f"intents of SNIPS, {TRAIN:,} rows to train on, {VALIDATION} to choose the best weights, 700 to judge; the",
        "starter base, and each adapter by its own defaults.",
        "Memory is the peak of a whole process, which holds the base and the libraries too.",
        "",
        "| adapter | accuracy | log loss | seconds | trained weights | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        if "refused" in row:
            lines.append(f"| `{row['adapter']}` | {row['refused']} | | | | |")
            continue
        lines.append(
            f"| `{row['adapter']}` | {row['accuracy']:.3f} | {row['log_loss']:.3f} | {row['seconds']:.0f} | "
            f"{row['weights']:,} | {row['gigabytes']:.2f} GiB |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the named adapters, or all, print each and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--one", help="measure one in this process and print it as JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one)))
        return
    from declarlm.adapters import adapters

    found = []
    for kind in given.names or ["none", *adapters]:
        found.append(in_a_process(kind))
        print(found[-1], flush=True)
    if not given.names:
        (RESULTS / "adapters.md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
