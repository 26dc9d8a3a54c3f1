"""Train dpo, orpo and kto on right and wrong intents of real requests, and measure which they prefer on held-out ones.

python benchmarks/preferences.py [dpo|orpo|kto|grpo ...]        (make benchmark-preferences)

Each is its example's config on the starter base; grpo learns from the rewards of its example, on some of the same
requests. A row that is measured alone replaces its old result.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from quality import RESULTS, ROOT, SHARED, WORK, commit, declarlm, machine

OBJECTIVES = ("dpo", "orpo", "kto")
BOUND = 0.8
TRAIN_PAIRS = 1000
GRPO, GRPO_ROWS, GRPO_STEPS = "grpo", 120, 40


def pairs(part: str, size: int | None) -> pd.DataFrame:
    """Return requests of snips with the right intent and another one, drawn with a seed."""
    table = pd.read_json(SHARED / "data" / "snips" / f"{part}.jsonl", lines=True)
    table = table if size is None else table.sample(size, random_state=0)
    drawn, known = random.Random(0), sorted(set(table.intent))
    wrong = [drawn.choice([other for other in known if other != right]) for right in table.intent]
    return pd.DataFrame({"text": table.text, "answer": table.intent, "rejected": wrong})


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return each answer of a pair as a row of its own, with what was thought of it."""
    good = pd.DataFrame({"text": table.text, "answer": table.answer, "good": True})
    bad = pd.DataFrame({"text": table.text, "answer": table.rejected, "good": False})
    return pd.concat([good, bad]).sort_index(kind="stable").reset_index(drop=True)


def files(objective: str) -> tuple[Path, Path]:
    """Write the training and the held-out rows of an objective, and return their files."""
    paths = []
    for part, size in (("train", TRAIN_PAIRS), ("test", None)):
        table = pairs(part, size)
        path = WORK / "preferences" / f"{'judged' if objective == 'kto' else 'pairs'}_{part}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        (judged(table) if objective == "kto" else table).to_json(path, orient="records", lines=True)
        paths.append(path)
    return paths[0], paths[1]


def measure(objective: str) -> dict[str, Any]:
    """Return the results of one objective."""
    train, test = files(objective)
    name = f"{objective}-{time.strftime('%m%d-%H%M%S')}"
    config = ROOT / "examples" / objective / "config.yaml"
    trained = declarlm("train", "-c", config, "--dataset", train, "--output", WORK / "runs", "--name", name)
    evaluated = declarlm("evaluate", Path(trained.result["directory"]), "--dataset", test)
    found = evaluated.result["metrics"]
    figures = found["preferences"]
    accuracy = figures.get("paired_accuracy", figures["accuracy"])
    return {
        "objective": objective,
        "held": accuracy >= BOUND,
        "preferred": accuracy,
        "base": figures["base_accuracy"],
        "likelier": figures["likelier"],
        "base_likelier": figures["base_likelier"],
        "exact_match": found["answer"]["exact_match"],
        "seconds": trained.seconds + evaluated.seconds,
        "peak_megabytes": max(trained.peak_megabytes, evaluated.peak_megabytes),
        "commands": [trained.command, evaluated.command],
        "commit": commit(),
    }


def measure_rewards() -> dict[str, Any]:
    """Return the results of grpo."""
    train, test = (WORK / "preferences" / f"requests_{part}.jsonl" for part in ("train", "test"))
    train.parent.mkdir(parents=True, exist_ok=True)
    for path, table in ((train, pairs("train", GRPO_ROWS)), (test, pairs("test", 100))):
        table[["text", "answer"]].to_json(path, orient="records", lines=True)
    name = f"{GRPO}-{time.strftime('%m%d-%H%M%S')}"
    config = ROOT / "examples" / GRPO / "config.yaml"
    few = ("--set", f"trainer.train_steps={GRPO_STEPS}")
    trained = declarlm("train", "-c", config, "--dataset", train, *few, "--output", WORK / "runs", "--name", name)
    evaluated = declarlm("evaluate", Path(trained.result["directory"]), "--dataset", test)
    return {
        "objective": GRPO,
        **evaluated.result["metrics"]["rewards"],
        "seconds": trained.seconds + evaluated.seconds,
        "peak_megabytes": max(trained.peak_megabytes, evaluated.peak_megabytes),
        "commands": [trained.command, evaluated.command],
        "commit": commit(),
    }


def rewarded(entry: dict[str, Any]) -> list[str]:
    """Return the lines of the page on grpo."""
    return [
        "",
        f"The example of grpo, {GRPO_STEPS} steps on {GRPO_ROWS} of these requests, has no answers to learn from, only",
        "rewards: 1 for one or two words, -0.5 for a colon. On 100 requests of the test part:",
        "",
        "| objective | mean reward | base | seconds | peak MB | commit |",
        "|---|---|---|---|---|---|",
        f"| {GRPO} | {entry['mean']:.3f} | {entry['base_mean']:.3f} | {entry['seconds']:,.0f} "
        f"| {entry['peak_megabytes']:,} | {entry['commit']} |",
    ]


def write(entries: dict[str, Any]) -> None:
    """Write the results as JSON and as a page."""
    facts = machine()
    report = {"machine": facts, "date": time.strftime("%Y-%m-%d"), "rows": list(entries.values())}
    (RESULTS / "preferences.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    described = ", ".join(f"{key} {value}" for key, value in facts.items())
    page = [
        "# Preferences",
        "",
        f"`python benchmarks/preferences.py`, {report['date']}: {described}.",
        "",
        f"{TRAIN_PAIRS:,} requests of snips with the right and a wrong intent train the starter base by each",
        "example's config; the 700 requests of its test part are held out. *Preferred* is the share of held-out",
        "pairs in which the right intent has the higher implicit reward, ties counted half (for orpo, which has no",
        "reference: the higher mean log-probability; for kto: pairs of answers to the same request). A model that is",
        "its own reference prefers nothing, so *base, likelier*, the share by mean log-probability before training,",
        "says what it knew.",
        "*Right answers* is the share of requests whose written answer is the right intent.",
        "",
        "| objective | target | held | preferred | base | likelier | base, likelier | right answers "
        "| seconds | peak MB | commit |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    shown = ("preferred", "base", "likelier", "base_likelier", "exact_match")
    for entry in (entries[name] for name in OBJECTIVES if name in entries):
        numbers = " | ".join(f"{entry[key]:.3f}" for key in shown)
        page.append(
            f"| {entry['objective']} | preferred >= {BOUND} | {'yes' if entry['held'] else '**missed**'} | {numbers} "
            f"| {entry['seconds']:,.0f} | {entry['peak_megabytes']:,} | {entry['commit']} |"
        )
    page += rewarded(entries[GRPO]) if GRPO in entries else []
    page += ["", "## Commands", ""] + [f"    {line}" for entry in entries.values() for line in entry["commands"]]
    (RESULTS / "preferences.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def main() -> None:
    """Measure the named objectives, or all of them, writing after each."""
    if not (SHARED / "data").is_dir():
        raise SystemExit(f"no shared data in {SHARED}; set DECLARLM_SHARED")
    chosen = sys.argv[1:] or (*OBJECTIVES, GRPO)
    path = RESULTS / "preferences.json"
    known = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    entries = {row["objective"]: row for row in known}
    for objective in chosen:
        entries[objective] = measure_rewards() if objective == GRPO else measure(objective)
        print(objective, entries[objective].get("preferred", entries[objective].get("mean")), flush=True)
        write({name: entries[name] for name in (*OBJECTIVES, GRPO) if name in entries})


if __name__ == "__main__":
    main()
