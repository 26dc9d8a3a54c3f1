"""The example of several labels a row learns them from words, a date and other labels."""

from pathlib import Path

import pandas as pd

from declarlm import DeclarLM

FOLDER = Path(__file__).parents[2] / "examples" / "multi_label"
WORDS = {"images": "resize the picture", "tables": "join two frames", "plots": "draw a curve"}


def questions(number: int = 120) -> pd.DataFrame:
    rows = []
    for row in range(number):
        topics = [topic for place, topic in enumerate(WORDS) if row >> place & 1]
        rows.append(
            {
                "question": " and ".join(WORDS[topic] for topic in topics) or "hello there",
                "asked": f"2026-{row % 12 + 1:02d}-{row % 28 + 1:02d}",
                "author_tags": "python, vision" if row % 3 else "",
                "topics": topics,
            }
        )
    return pd.DataFrame(rows)


def test_each_topic_is_found(tmp_path):
    result = DeclarLM(FOLDER / "config.yaml").train(questions(), output=tmp_path)
    assert result.metrics["test"]["topics"]["jaccard"] > 0.9
    asked = {"question": ["draw a curve and join two frames"], "asked": ["2026-05-05"], "author_tags": [None]}
    assert set(result.model.predict(asked)["topics_predictions"][0]) == {"tables", "plots"}
