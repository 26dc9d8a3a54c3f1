"""Write the text that the starter base is trained on: documentation and generated tasks, shuffled.

python examples/starter_base/make_corpus.py --output build/starter/corpus.parquet
"""

from __future__ import annotations

import argparse
import collections
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from documentation import LIBRARIES, documents, sources
from tasks import layout, task

MOST_CHARACTERS = 2_000_000  # of one library, so that none of them sets the tone


def name_the_library(rng: random.Random, summaries: dict[str, list[str]]) -> str:
    """Return a task: which library does a line of documentation come from."""
    chosen = rng.sample(sorted(summaries), rng.randint(2, 5))
    examples = [(rng.choice(summaries[name]), name) for name in rng.choices(chosen, k=rng.randint(2, 6))]
    return layout(rng, examples, chosen, "Name the library.")


def at_most(characters: int, rows: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the rows of each library up to so many characters."""
    sizes: collections.Counter[str] = collections.Counter()
    for name, text in rows:
        if sizes[name] < characters:
            sizes[name] += len(text)
            yield name, text


def make_corpus(num_tasks: int, seed: int) -> pd.DataFrame:
    """Return the rows: ``kind`` says where a text comes from."""
    rng = random.Random(seed)
    rows = list(documents(rng))
    rng.shuffle(rows)
    rows = list(at_most(MOST_CHARACTERS, rows))
    summaries: dict[str, list[str]] = collections.defaultdict(list)
    for name, text in rows:
        summary = text.split("\n", 2)[1] if "\n" in text else ""
        if name in LIBRARIES and 25 < len(summary) < 100 and name not in summary.lower():
            summaries[name].append(summary.strip())
    summaries = {name: lines for name, lines in summaries.items() if len(lines) > 300}
    for index in range(num_tasks):
        text = name_the_library(rng, summaries) if index % 40 == 0 else task(rng)
        rows.append(("task", text))
    rng.shuffle(rows)
    return pd.DataFrame(rows, columns=["kind", "text"])


def main() -> None:
    """Write the corpus, and beside it what it is made of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/starter/corpus.parquet"))
    parser.add_argument("--num-tasks", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    corpus = make_corpus(options.num_tasks, options.seed)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    corpus.to_parquet(options.output, index=False)
    sizes = corpus["text"].str.len().groupby(corpus["kind"]).agg(["count", "sum"])
    report = {
        "seed": options.seed,
        "num_tasks": options.num_tasks,
        "sources": sources(),
        "characters": sizes["sum"].to_dict(),
        "rows": sizes["count"].to_dict(),
    }
    options.output.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{len(corpus):,} rows, {corpus['text'].str.len().sum():,} characters: {options.output}")


if __name__ == "__main__":
    main()
