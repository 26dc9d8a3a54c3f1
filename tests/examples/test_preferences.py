"""The examples of preferences train and judge pairs."""

from pathlib import Path

import pandas as pd
import pytest

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples"
WORDS = {"play": "PlayMusic", "book": "BookRestaurant", "rate": "RateBook", "weather": "GetWeather"}
PAIRS = pd.DataFrame(
    [
        {"text": f"{word} {number} now", "answer": right, "rejected": wrong}
        for number in range(6)
        for word, right in WORDS.items()
        for wrong in ("PlayMusic", "GetWeather")
        if wrong != right
    ]
)


JUDGED = pd.concat([PAIRS.assign(good=True), PAIRS.assign(answer=PAIRS.rejected, good=False)], ignore_index=True)


@pytest.mark.parametrize(("name", "rows"), [("dpo", PAIRS), ("orpo", PAIRS), ("kto", JUDGED)])
def test_an_example_learns_from_preferences(name, rows, tmp_path):
    few = {"trainer.epochs": 2, "generation.max_new_tokens": 2}
    result = DeclarLM(FOLDER / name / "config.yaml", overrides=few).train(rows, output=tmp_path)
    found = result.metrics["test"]["preferences"]
    assert 0 <= found["accuracy"] <= 1
    assert {"margin", "base_accuracy"} <= set(found)


def test_the_example_learns_from_rewards(tmp_path):
    few = {"trainer.train_steps": 2, "trainer.num_generations": 4, "trainer.batch_size": 6}
    result = DeclarLM(FOLDER / "grpo" / "config.yaml", overrides=few).train(PAIRS[["text", "answer"]], output=tmp_path)
    assert set(result.metrics["test"]["rewards"]) == {"mean", "length", "regex", "base_mean"}
