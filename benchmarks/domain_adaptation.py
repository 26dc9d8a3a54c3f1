"""Adapt a tiny model of children's stories to Shakespeare, and measure what it learns and what it forgets.

python benchmarks/domain_adaptation.py        (make benchmark-domain)

The general text is what the base itself writes: what it knew. Rehearsed is a training with other such text among its
rows.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
from quality import RESULTS, ROOT, SHARED, WORK, commit, declarlm, machine

BASE = SHARED / "models" / "stories260K"
PLAYS = SHARED / "data" / "corpora" / "tinyshakespeare.txt"
CONFIG = ROOT / "examples" / "domain_adaptation" / "config.yaml"
FOLDER = WORK / "domain"
BEGINNINGS = ["Once upon a time", "One day", "There was a", "Tom and", "Lily", "The little", "A big", "In the", "Sam"]
LOSS, SECONDS = 3.3, 300


def stories(name: str, rows: int, seed: int) -> Path:
    """Have the base write stories into a file, and return it."""
    begun = FOLDER / "beginnings.csv"
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"text": (BEGINNINGS * rows)[:rows]})
    table.to_csv(begun, index=False)
    from declarlm import DeclarLM

    writer = DeclarLM(
        {
            "base_model": str(BASE),
            "input_features": [{"name": "text", "type": "text"}],
            "output_features": [{"name": "story", "type": "text"}],
            "prompt": {"template": "{text}"},
            "generation": {"max_new_tokens": 300, "temperature": 1.0, "seed": seed},
            "trainer": "none",
        }
    )
    written = writer.predict(begun).story_predictions.str.strip()
    path = FOLDER / f"{name}.csv"
    pd.DataFrame({"text": table.text + " " + written}).to_csv(path, index=False)
    return path


def rehearsing(path: Path) -> Path:
    """Write the lines of the plays with stories before them, which training mixes, and return the file."""
    lines = PLAYS.read_text(encoding="utf-8").splitlines()
    told = [line for story in pd.read_csv(path).text for line in [*story.splitlines(), ""]]
    target = FOLDER / "rehearsed.txt"
    target.write_text("\n".join([*told, *lines]) + "\n", encoding="utf-8")
    return target


def measure(name: str, data: Path, general: Path) -> dict[str, Any]:
    """Return the results of one training."""
    run = f"{name}-{time.strftime('%m%d-%H%M%S')}"
    settings = ("--set", f"base_model={BASE}", "--set", f"trainer.forgetting={general}")
    trained = declarlm("train", "-c", CONFIG, "--dataset", data, *settings, "--output", WORK / "runs", "--name", run)
    metrics = trained.result["metrics"]
    directory = Path(trained.result["directory"])
    test = FOLDER / "test.txt"
    lines = PLAYS.read_text(encoding="utf-8").splitlines()
    test.write_text("\n".join(lines[-4000:]) + "\n", encoding="utf-8")
    compared = declarlm("evaluate", directory, "--dataset", test, "--compare", "base")
    before, after = (compared.result["metrics"][who]["combined"]["loss"] for who in ("base", "tuned"))
    return {
        "name": name,
        "base_loss": before,
        "loss": after,
        "held": after < LOSS and trained.seconds < SECONDS,
        "general": metrics["general"]["forgetting"],
        "seconds": trained.seconds,
        "peak_megabytes": trained.peak_megabytes,
        "commands": [trained.command, compared.command],
        "commit": commit(),
    }


def write(entries: list[dict[str, Any]]) -> None:
    """Write the results as JSON and as a page."""
    facts = machine()
    report = {"machine": facts, "date": time.strftime("%Y-%m-%d"), "rows": entries}
    (RESULTS / "domain_adaptation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    described = ", ".join(f"{key} {value}" for key, value in facts.items())
    page = [
        "# Domain adaptation",
        "",
        f"`python benchmarks/domain_adaptation.py`, {report['date']}: {described}.",
        "",
        "stories260K, a model of children's stories, learns tinyshakespeare by examples/domain_adaptation; its last",
        "4,000 lines are held out. The general text is stories that the base itself wrote. Losses are nats a token.",
        "",
        "| training | target | held | plays: base | plays: tuned | stories: base | stories: tuned | seconds | peak MB "
        "| commit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        general = entry["general"]
        page.append(
            f"| {entry['name']} | loss < {LOSS}, seconds < {SECONDS} | {'yes' if entry['held'] else '**missed**'} "
            f"| {entry['base_loss']:.3f} | {entry['loss']:.3f} | {general['base_loss']:.3f} | {general['loss']:.3f} "
            f"| {entry['seconds']:,.0f} | {entry['peak_megabytes']:,} | {entry['commit']} |"
        )
    page += ["", "## Commands", ""] + [f"    {line}" for entry in entries for line in entry["commands"]]
    (RESULTS / "domain_adaptation.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def main() -> None:
    """Measure both trainings, writing after each."""
    if not (SHARED / "data").is_dir():
        raise SystemExit(f"no shared data in {SHARED}; set DECLARLM_SHARED")
    general = stories("general", 60, seed=1)
    entries = [measure("plays", PLAYS, general)]
    write(entries)
    entries.append(measure("plays_rehearsed", rehearsing(stories("rehearsal", 150, seed=2)), general))
    write(entries)


if __name__ == "__main__":
    main()
