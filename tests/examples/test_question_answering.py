"""The example of questions about a passage, on a few short ones."""

from pathlib import Path

import pandas as pd

from declarlm import DeclarLM

CONFIG = Path(__file__).parents[2] / "examples" / "question_answering" / "config.yaml"


def test_a_base_learns_the_form_of_an_answer(shared, tmp_path):
    table = pd.read_csv(shared / "data/squad_v2_subset/train.csv")
    table = table.iloc[table["context"].str.len().argsort()[:40]].reset_index(drop=True)
    answers = [
        "".join(span.text for span in preview.spans if span.role == "answer").strip()
        for preview in DeclarLM(CONFIG).preview(table, len(table))
    ]
    none = "cannot find answer"
    assert [answer == none for answer in answers] == table["is_impossible"].eq(1).tolist()
    untrained = {"adapter": None, "trainer": {"type": "none"}, "generation.max_new_tokens": 5}
    few = {"trainer.epochs": 4, "generation.max_new_tokens": 5}
    base = DeclarLM(CONFIG, overrides=untrained).evaluate(table[:12]).metrics["answer"]
    tuned = DeclarLM(CONFIG, overrides=few).train(table, output=tmp_path).model.evaluate(table[:12]).metrics["answer"]
    assert tuned["loss"] < base["loss"] - 1
    assert tuned["token_f1"] > base["token_f1"] + 0.1
    assert tuned["normalized_exact_match"] > base["normalized_exact_match"]
