"""Fine-tune the starter base on the documentation of this Python, and compare it with what is simpler.

Run by `make quickstart`: a few minutes on two cores, no download.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from documentation import FAMILIES, collect
from rich.console import Console
from rich.table import Table

from declarlm import DeclarLM
from declarlm.core import DeclarlmError
from declarlm.metrics import Prediction, evaluate
from declarlm.training.progress import Lines

HERE = Path(__file__).parent
SCREEN = Console(width=80 if not sys.stdout.isatty() else None, highlight=False)
Answers = dict[str, list[str]]  # by who gave them


def zero_shot(config: dict[str, Any], test: pd.DataFrame, output: str) -> list[str]:
    """Return the answers of the base model as it is: the same config without adapter and trainer."""
    untrained = {key: section for key, section in config.items() if key not in ("adapter", "trainer")}
    if output == "family":
        feature = {"name": "family", "type": "category", "preprocessing": {"labels": list(FAMILIES)}}
        untrained["output_features"] = [feature]
    return DeclarLM(untrained).predict(test)[f"{output}_predictions"].tolist()


def simple_answers(train: pd.DataFrame, test: pd.DataFrame, output: str) -> Answers:
    """Return what needs no language model: the most frequent answer, and one from TF-IDF.

    A label comes from logistic regression, a text from the training row whose documentation is nearest.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors

    column = "text" if output == "family" else "body"
    vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    fitted, asked = vectors.fit_transform(train[column]), vectors.transform(test[column])
    answers = {"most frequent": [train[output].mode()[0]] * len(test)}
    if output == "family":
        model = LogisticRegression(C=10, max_iter=500).fit(fitted, train[output])
        return answers | {"TF-IDF + logistic regression": model.predict(asked).tolist()}
    nearest = NearestNeighbors(n_neighbors=1, metric="cosine").fit(fitted).kneighbors(asked, return_distance=False)
    return answers | {"TF-IDF, nearest": train[output].iloc[nearest[:, 0]].tolist()}


def tune(rows: pd.DataFrame, output: str) -> tuple[Answers, Path]:
    """Return everyone's answers to the test rows, and where the run lies."""
    SCREEN.rule(f"[bold]{output}[/] from {len(rows):,} docstrings", align="left")
    config = yaml.safe_load((HERE / f"{output}.yaml").read_text(encoding="utf-8"))
    test, train = rows[rows["part"] == "test"], rows[rows["part"] == "train"]
    answers = simple_answers(train, test, output)
    answers["starter, zero-shot"] = zero_shot(config, test, output)
    result = DeclarLM(config).train(rows, name=f"quickstart-{output}", progress=Lines())
    answers["starter, tuned (LoRA)"] = result.model.predict(test)[f"{output}_predictions"].tolist()
    return answers, result.directory


def show_scores(test: pd.DataFrame, output: str, answers: Answers) -> None:
    """Print a table: one row per method, one column per metric."""
    kind = {"family": "category", "summary": "text"}[output]
    names = {"family": ["accuracy", "f1_macro"], "summary": ["rouge_l", "token_f1"]}[output]
    table = Table("answers of", *names, title=f"{output}, {len(test):,} test rows", title_justify="left")
    for who, values in answers.items():
        prediction = Prediction(values=values, probabilities=None, labels=sorted(set(test[output])))
        scores = evaluate(kind, test[output].tolist(), prediction, names)
        table.add_row(who, *(f"{scores[name]:.3f}" for name in names))
    SCREEN.print(table)


def show_examples(test: pd.DataFrame, output: str, answers: Answers, column: str) -> None:
    """Print some predictions beside the truth."""
    table = Table(column, output, "predicted", expand=True, show_lines=True)
    for index, (_, row) in enumerate(test.head(4).iterrows()):
        table.add_row(row[column][:90], row[output], str(answers["starter, tuned (LoRA)"][index]))
    SCREEN.print(table)


def main() -> None:
    """Collect, tune, compare."""
    started = time.monotonic()
    SCREEN.print("Reading the documentation of", sys.version.split()[0], "...")
    rows = collect()
    runs = []
    told = rows[(rows["body"].str.len() > 40) & (rows["summary"].str.len() < 100)]
    for output, part in (("family", rows), ("summary", told)):
        answers, run = tune(part, output)
        test = part[part["part"] == "test"]
        show_scores(test, output, answers)
        show_examples(test, output, answers, "text" if output == "family" else "body")
        runs.append(run)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    SCREEN.print(f"Done in {minutes} min {seconds} s. The runs lie in:")
    for run in runs:
        SCREEN.print(f"  {run}")
    SCREEN.print("Next: [bold].venv/bin/declarlm predict RUN --dataset YOUR.csv[/], or your own config and table.")


if __name__ == "__main__":
    try:
        main()
    except DeclarlmError as error:
        sys.exit(str(error))
