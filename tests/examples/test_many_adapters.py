"""The example of several adapters answers each row as the run that its column names, and switches at once."""

import time
from pathlib import Path

import pandas as pd

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples" / "many_adapters"
ROWS = pd.DataFrame(
    {
        "text": ["play some jazz", "spiel etwas jazz"] * 6,
        "intent": ["music"] * 12,
        "language": ["English", "German"] * 6,
    }
)


def trained(output: str, folder: Path) -> DeclarLM:
    config = {
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": output, "type": "text"}],
        "adapter": {"type": "lora", "r": 4},
        "trainer": {"train_steps": 2, "batch_size": 4},
        "generation": {"max_new_tokens": 4},
    }
    DeclarLM(config).train(ROWS, validation=ROWS, output=folder, name=f"{output}s")
    return DeclarLM.load(folder / f"{output}s")


def test_each_row_is_answered_by_its_adapter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = {f"{name}s": trained(name, tmp_path / "runs").predict(ROWS) for name in ("intent", "language")}
    model = DeclarLM(FOLDER / "config.yaml")
    found = model.predict(ROWS.assign(task=["intents", "languages"] * 6))
    assert found["intent_predictions"].tolist()[::2] == alone["intents"]["intent_predictions"].tolist()[::2]
    assert found["language_predictions"].tolist()[1::2] == alone["languages"]["language_predictions"].tolist()[1::2]
    assert len(model.predict(ROWS.head(1), adapter="both")) == 1
    seconds = []
    for name in ["languages", "intents"] * 4:
        begun = time.perf_counter()
        model.use(name)
        seconds.append(time.perf_counter() - begun)
    assert sorted(seconds)[4] < 0.05
