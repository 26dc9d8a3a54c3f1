"""Write a finished pretraining run into the package, as fp16, with a card that says what it is.

python examples/starter_base/export_starter.py RUN --corpus build/starter/corpus.json
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from pathlib import Path
from string import Template
from typing import Any

import yaml

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "declarlm" / "backbones" / "starter"
MOST_BYTES = 10_000_000


def export(run: Path, target: Path) -> int:
    """Write weights, config and tokenizer; return the number of weights."""
    import torch
    from transformers import AutoModelForCausalLM

    weights = run / "model" / "weights"
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32, local_files_only=True)
    num_weights: int = sum(weight.numel() for weight in model.parameters())
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    model.half().save_pretrained(target)
    config = target / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["dtype"] = "float32"  # Half the bytes on disk; nothing is computed in fp16.
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (target / "model.safetensors").chmod(0o644)
    shutil.copyfile(weights / "tokenizer.json", target / "tokenizer.json")
    tokenizer = json.loads((weights / "tokenizer_config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in tokenizer.items() if key not in ("is_local", "local_files_only")}
    (target / "tokenizer_config.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return num_weights


def best_evaluation(run: Path) -> dict[str, Any]:
    """Return the evaluation with the lowest loss, whose weights the run kept."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    evaluations = [entry for entry in map(json.loads, lines) if entry["kind"] == "evaluation"]
    return min(evaluations, key=lambda entry: float(entry["metrics"]["loss"]))


def card(run: Path, corpus: dict[str, Any], num_weights: int) -> str:
    """Return the model card, from the run and the corpus report."""
    resolved = yaml.safe_load((run / "config.resolved.yaml").read_text(encoding="utf-8"))
    documentation = sum(size for kind, size in corpus["characters"].items() if kind != "task")
    sources = [f"| {row['name']} | {row['version']} | {row['licence']} |" for row in corpus["sources"]]
    template = Template((HERE / "card.md").read_text(encoding="utf-8"))
    return template.substitute(
        weights=f"{num_weights:,}",
        context=resolved["architecture"]["context_length"],
        vocabulary=resolved["architecture"]["tokenizer"]["vocab_size"],
        documentation=f"{documentation / 1e6:.0f}",
        tasks=f"{corpus['characters']['task'] / 1e6:.0f}",
        num_tasks=f"{corpus['rows']['task']:,}",
        sources="\n".join(sources),
        **measured(run, resolved["trainer"]),
    )


def measured(run: Path, trainer: dict[str, Any]) -> dict[str, str]:
    """Return loss, perplexity, steps, tokens and minutes of the run, as text."""
    best = best_evaluation(run)
    loss = float(best["metrics"]["loss"])
    return {
        "loss": f"{loss:.3f}",
        "perplexity": f"{math.exp(loss):.1f}",
        "steps": f"{best['step']:,}",
        "tokens": f"{best['step'] * trainer['batch_size'] * trainer['sequence_length'] / 1e6:.0f}",
        "minutes": f"{best['seconds'] / 60:.0f}",
    }


def main() -> None:
    """Export and check the size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--corpus", type=Path, default=Path("build/starter/corpus.json"), help="report of make_corpus")
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    num_weights = export(options.run, options.target)
    text = card(options.run, json.loads(options.corpus.read_text(encoding="utf-8")), num_weights)
    (options.target / "README.md").write_text(text, encoding="utf-8")
    size = sum(path.stat().st_size for path in options.target.iterdir())
    if size > MOST_BYTES:
        raise SystemExit(
            f"{options.target} has {size:,} bytes, more than {MOST_BYTES:,}; choose a smaller architecture"
        )
    print(f"{num_weights:,} weights, {size:,} bytes: {options.target}")


if __name__ == "__main__":
    main()
