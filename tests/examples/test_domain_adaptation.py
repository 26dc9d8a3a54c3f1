"""The example of domain adaptation learns the lines of a text, and says what it forgot."""

from pathlib import Path

import pandas as pd

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples" / "domain_adaptation"


def test_the_example_learns_and_measures_what_it_forgets(tmp_path):
    (tmp_path / "plays.txt").write_text("KING:\nWhat news, my lord?\n\nLORD:\nNone, my king, but rain.\n" * 40)
    pd.DataFrame({"text": ["A list is a sequence of items.", "Return the largest of them."]}).to_csv(
        tmp_path / "general.csv", index=False
    )
    few = {"trainer.train_steps": 2, "trainer.sequence_length": 32, "trainer.batch_size": 2}
    few["trainer.forgetting"] = str(tmp_path / "general.csv")
    result = DeclarLM(FOLDER / "config.yaml", overrides=few).train(tmp_path / "plays.txt", output=tmp_path)
    assert result.metrics["test"]["combined"]["loss"] > 0
    assert set(result.metrics["general"]["forgetting"]) == {"loss", "base_loss", "rise"}
