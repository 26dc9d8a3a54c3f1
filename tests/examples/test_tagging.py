from pathlib import Path

import pandas as pd

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples" / "tagging"
ARTISTS = ["sigur ros", "bach", "nina simone", "air"]
CITIES = ["oslo", "new york", "rome"]


def commands() -> pd.DataFrame:
    plays = [(f"{verb} {artist}", artist, "artist") for verb in ("play", "put on some") for artist in ARTISTS]
    asks = [(f"{verb} {city}", city, "city") for verb in ("weather in", "is it warm in") for city in CITIES]
    rows = []
    for text, slot, kind in plays + asks:
        inside = len(slot.split())
        tags = ["O"] * (len(text.split()) - inside) + [f"B-{kind}"] + [f"I-{kind}"] * (inside - 1)
        rows.append((text.split(), tags, "play" if kind == "artist" else "weather"))
    return pd.DataFrame(rows * 10, columns=["tokens", "slot_tags", "intent"])


def test_words_and_commands_are_tagged_by_one_encoder(tmp_path):
    table = commands()
    result = DeclarLM(FOLDER / "config.yaml", overrides={"tokens.encoder.embedding_size": 32}).train(
        table, output=tmp_path
    )
    assert result.metrics["test"]["slot_tags"]["entity_f1"] > 0.9
    predicted = result.model.predict({"tokens": ["play nina simone", ["weather", "in", "rome"]]})
    assert predicted["slot_tags_predictions"].tolist() == [["O", "B-artist", "I-artist"], ["O", "O", "B-city"]]
    assert predicted["intent_predictions"].tolist() == ["play", "weather"]
