"""The examples of adapters train, and any other adapter takes their place by its name."""

from pathlib import Path

import pandas as pd
import pytest

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples"
WORDS = {"play": "PlayMusic", "book": "BookRestaurant", "rate": "RateBook", "weather": "GetWeather"}
ROWS = pd.DataFrame(
    [{"text": f"{word} {row} now", "intent": intent} for row in range(5) for word, intent in WORDS.items()]
)
FEW = {"trainer.train_steps": 2, "trainer.batch_size": 8}


@pytest.mark.parametrize("name", ["adapters", "soft_prompts", "bottleneck"])
def test_an_example_of_adapters_trains(name, tmp_path):
    result = DeclarLM(FOLDER / name / "config.yaml", overrides=FEW).train(ROWS, validation=ROWS, output=tmp_path)
    assert result.metrics["validation"]["intent"]["loss"] > 0
    assert set(result.model.predict(ROWS.head(4))["intent_predictions"]) <= set(WORDS.values())


@pytest.mark.parametrize("kind", ["ia3", "prefix_tuning", "last_layers"])
def test_another_adapter_is_another_word(kind, tmp_path):
    overrides = {**FEW, "adapter": {"type": kind}}
    result = DeclarLM(FOLDER / "bottleneck" / "config.yaml", overrides=overrides).train(
        ROWS, validation=ROWS, output=tmp_path
    )
    loaded = DeclarLM.load(result.directory)
    assert loaded.predict(ROWS.head(4)).equals(result.model.predict(ROWS.head(4)))
