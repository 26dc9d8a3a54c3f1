"""Measure sweeps: twelve trials on real data, what a trial costs beside its training, and what memory one more takes.

python benchmarks/sweeps.py [snips] [overhead] [memory]        (make benchmark-sweeps)
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from quality import RESULTS, ROOT, SHARED, WORK, commit, machine

BIN = Path(sys.executable).parent
FOLDER = WORK / "sweeps"
SNIPS = ROOT / "benchmarks" / "sweeps" / "snips.yaml"
DATA = SHARED / "data" / "snips" / "train.jsonl"


def run(*arguments: object) -> tuple[dict[str, Any], float]:
    """Return what a command of declarlm prints as JSON, and its seconds."""
    started = time.perf_counter()
    command = [str(BIN / "declarlm"), *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout), time.perf_counter() - started


def snips() -> dict[str, Any]:
    """Search on both executors, and train the config's own values for comparison."""
    rows = {}
    trained, seconds = run("train", "-c", SNIPS, "--dataset", DATA, "--output", FOLDER, "--name", "default")
    default = trained["metrics"]["validation"]["intent"]["accuracy"]
    rows["default"] = {"seconds": round(seconds, 1), "accuracy": default}
    for executor in ("inline", "ray"):
        changed = ["--set", f"hyperopt.executor.type={executor}"]
        found, seconds = run(
            "hyperopt", "-c", SNIPS, "--dataset", DATA, "--output", FOLDER, "--name", executor, *changed
        )
        told = json.loads((Path(ROOT, found["directory"]) / "hyperopt.json").read_text(encoding="utf-8"))
        states = [trial["state"] for trial in told["trials"]]
        rows[executor] = {
            "seconds": round(seconds, 1),
            "accuracy": found["value"],
            "values": found["values"],
            "trials": {state: states.count(state) for state in sorted(set(states))},
            "largest_importance": next(iter(told["importance"]), None),
            "importance": told["importance"],
            "held": found["value"] >= default,
        }
    return rows


OVERHEAD = """
import json, sys, time, warnings
import torch
torch.set_num_threads(1)
from declarlm import DeclarLM
from declarlm.training.progress import Silent
executor, folder, data = sys.argv[1:]
warnings.simplefilter("ignore")
rates = [1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4]
space = {"trainer.learning_rate": {"space": "grid_search", "values": rates}}
config = {
    "base_model": "starter", "adapter": "lora", "trainer": {"train_steps": 20, "batch_size": 8, "eval_steps": 10},
    "input_features": [{"name": "text", "type": "text"}], "output_features": [{"name": "intent", "type": "category"}],
    "preprocessing": {"sample_size": 300},
}
def alone(rate):
    started = time.perf_counter()
    changed = {**config, "trainer": {**config["trainer"], "learning_rate": rate, "validation_metric": "loss"}}
    DeclarLM(changed).train(data, output=folder, name="alone", progress=Silent())
    return time.perf_counter() - started
alone(rates[0])
before = [alone(rate) for rate in rates]
section = {"parameters": space, "executor": {"type": executor, "max_concurrent_trials": 1}}
found = DeclarLM({**config, "hyperopt": section})
started = time.perf_counter()
trials = found.hyperopt(data, output=folder, name="sweep").trials
whole = time.perf_counter() - started
after = [alone(rate) for rate in rates]
print(json.dumps({"alone": before + after, "trials": trials.seconds.tolist(), "whole": whole}))
"""


def overhead(executor: str) -> dict[str, Any]:
    """Return what a trial takes beyond the same training alone, in the median of those after the first.

    The first trial on Ray also starts a process and imports torch in it.
    """
    command = [sys.executable, "-c", OVERHEAD, executor, str(FOLDER / executor), str(DATA)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    told = json.loads(done.stdout.splitlines()[-1])
    alone, trial = statistics.median(told["alone"]), statistics.median(told["trials"][1:])
    bound = 2.0 if executor == "ray" else 0.5
    return {
        "training_alone_seconds": round(alone, 2),
        "trial_seconds": round(trial, 2),
        "overhead_seconds": round(trial - alone, 2),
        "first_trial_seconds": round(told["trials"][0], 2),
        "beside_all_trials_seconds": round(told["whole"] - sum(told["trials"]), 2),
        "at_most": bound,
        "held": trial - alone <= bound,
    }


def memory() -> dict[str, Any]:
    """Return by how much one more trial's memory grows when the base grows by 400 MB: see ``sweeps/memory.py``."""
    script = ROOT / "benchmarks" / "sweeps" / "memory.py"
    command = [sys.executable, str(script), str(FOLDER / "memory")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


PARTS = {
    "snips": snips,
    "overhead": lambda: {executor: overhead(executor) for executor in ("inline", "ray")},
    "memory": memory,
}


def main() -> None:
    """Measure what is named, all by default, and write the results."""
    path = RESULTS / "sweeps.json"
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name in sys.argv[1:] or PARTS:
        report[name] = {**PARTS[name](), "commit": commit()}
        print(json.dumps({name: report[name]}, indent=2), flush=True)
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps({**report, "machine": machine()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
