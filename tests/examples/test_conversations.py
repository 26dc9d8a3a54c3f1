"""The example of whole chats: what the assistant says next in a real conversation."""

import json
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest

from declarlm import DeclarLM

CONFIG = Path(__file__).parents[2] / "examples" / "conversation" / "config.yaml"


def dialogues(path, count):
    with path.open(encoding="utf-8") as file:
        return pd.DataFrame(list(map(json.loads, islice(file, count))))


@pytest.mark.filterwarnings("ignore:.*lost their oldest exchanges")
def test_a_base_learns_what_is_said_next(shared, tmp_path):
    train = dialogues(shared / "data/sgd_dialogues/train.jsonl", 60)
    asked = dialogues(shared / "data/sgd_dialogues/test.jsonl", 6)
    overrides = {"trainer.epochs": 2, "generation.max_new_tokens": 12}
    result = DeclarLM(CONFIG, overrides=overrides).train(train, output=tmp_path)
    compared = result.model.compare(asked)
    found = {who: compared.metrics[who]["reply"]["loss"] for who in ("base", "tuned")}
    assert found["tuned"] < found["base"] - 0.5
    short = asked.assign(messages=asked["messages"].str[:3])
    said = result.model.predict(short)["reply_predictions"]
    assert said.str.len().gt(0).all()
    assert DeclarLM.load(result.directory).predict(short)["reply_predictions"].tolist() == said.tolist()
