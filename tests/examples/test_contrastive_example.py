"""The example of contrastive learning trains on pairs and finds answers."""

from pathlib import Path

import pandas as pd

from declarlm import DeclarLM
from tests.small_bases import WORDS, save_tiny_bert

FOLDER = Path(__file__).parents[2] / "examples" / "contrastive"


def test_an_answer_is_found_by_its_question(tmp_path):
    pairs = [(f"{one} {two}", f"the {two} was {one}") for one in WORDS for two in WORDS if one < two]
    table = pd.DataFrame(pairs, columns=["question", "answer"])
    own = {"question.encoder.pretrained_model_name_or_path": save_tiny_bert(tmp_path / "bert", dropout=0)}
    result = DeclarLM(
        FOLDER / "config.yaml", overrides={**own, "trainer.batch_size": 16, "trainer.learning_rate": 0.02}
    ).train(table, output=tmp_path)
    assert result.metrics["test"]["contrast"]["accuracy"] > 0.5
    answers = result.model.embed(table, feature="answer")
    best = result.model.embed({"question": list(table.question)}) @ answers.T
    assert (best.argmax(axis=1) == range(len(table))).mean() > 0.5
