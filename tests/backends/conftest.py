"""Ray, started once for the tests of a module, and what two processes train here."""

import random
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from declarlm.backends.cluster import import_ray, started
from tests.small_bases import save_tiny_llama

DRAW = random.Random(0)
COLOURS = ["red", "green", "blue", "black", "white"]


@pytest.fixture(scope="module")
def ray_runs() -> Iterator[Any]:
    ray = import_ray("backend", "backend: local")
    with started(ray, None):
        yield ray


@pytest.fixture(scope="session")
def numbers() -> pd.DataFrame:
    """Two numbers and which of them is higher, 101 rows."""
    rows = pd.DataFrame([{"a": DRAW.gauss(0, 1), "b": DRAW.gauss(0, 1)} for _ in range(101)])
    rows["label"] = ["high" if a > b else "low" for a, b in zip(rows.a, rows.b, strict=True)]
    return rows


@pytest.fixture(scope="session")
def colours() -> pd.DataFrame:
    """Texts of 1 to 12 words and their first word, 60 rows."""
    texts = [" ".join(DRAW.choice(COLOURS) for _ in range(DRAW.randint(1, 12))) for _ in range(60)]
    return pd.DataFrame({"text": texts, "first": [text.split()[0] for text in texts]})


@pytest.fixture(scope="session")
def for_numbers() -> dict[str, Any]:
    """A config for ``numbers`` that draws nothing at random."""
    return {
        "input_features": [{"name": name, "type": "number"} for name in "ab"],
        "output_features": [{"name": "label", "type": "category", "decoder": {"type": "classifier", "dropout": 0}}],
        "combiner": {"type": "concat", "dropout": 0},
        "trainer": {"epochs": 3, "batch_size": 8, "gradient_accumulation_steps": 2, "learning_rate": 0.01},
    }


@pytest.fixture(scope="session")
def for_colours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A config for ``colours``: a small language model with LoRA, without dropout."""
    return {
        "model_type": "llm",
        "base_model": save_tiny_llama(tmp_path_factory.mktemp("base") / "tiny"),
        "adapter": {"type": "lora", "dropout": 0},
        "prompt": {"template": "{text}: "},
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "first", "type": "category"}],
        "trainer": {"type": "finetune", "epochs": 2, "batch_size": 8, "learning_rate": 0.01, "precision": "fp32"},
    }
