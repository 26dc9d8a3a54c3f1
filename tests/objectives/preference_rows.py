"""Rows with a right and a corrupted answer, and a tiny model for them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from declarlm import load_config
from declarlm.data.tables import read_table
from declarlm.models.pair_rows import PairRows
from declarlm.training.group import Alone

COLOURS = ["red", "green", "blue", "black"]


def colour_pairs(num_rows: int = 48) -> pd.DataFrame:
    """Lists of colours: the chosen answer is the first of them, the rejected one is another."""
    drawn = random.Random(0)
    texts = [" ".join(drawn.sample(COLOURS, drawn.randint(1, 4))) for _ in range(num_rows)]
    chosen = [text.split()[0] for text in texts]
    rejected = [drawn.choice([colour for colour in COLOURS if colour != right]) for right in chosen]
    return pd.DataFrame({"text": texts, "answer": chosen, "rejected": rejected})


def corrupted(labels: pd.Series, seed: int = 0) -> list[str]:
    """Return for each label another one of the column."""
    drawn, known = random.Random(seed), sorted(set(labels))
    return [drawn.choice([other for other in known if other != label]) for label in labels]


def judged(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return each answer of a pair as a row of its own, with what was thought of it."""
    good = pd.DataFrame({"text": pairs.text, "answer": pairs.answer, "good": True})
    bad = pd.DataFrame({"text": pairs.text, "answer": pairs.rejected, "good": False})
    return pd.concat([good, bad]).sort_index(kind="stable").reset_index(drop=True)


def config(base: str, trainer: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a config of a tiny model that learns from rows like those above."""
    return {
        "base_model": base,
        "adapter": {"type": "lora", "dropout": 0},
        "prompt": {"template": "{text}: "},
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "answer", "type": "text"}],
        "generation": {"max_new_tokens": 4},
        "trainer": {"epochs": 2, "batch_size": 8, "learning_rate": 0.003, "precision": "fp32", **trainer},
        **changes,
    }


def plain_log_probs(backbone: Any, store: PairRows, rows: list[int]) -> Tensor:
    """Return the log-probability of both answers of each row, from whole logits, a row at a time, ``(rows, 2)``."""
    found = []
    for row in (2 * int(store.kept[row]) + second for row in rows for second in (0, 1)):
        ids = torch.from_numpy(store.tokens.ids[row].astype("int64"))[None]
        answered = torch.from_numpy(store.tokens.roles[row].astype("int64"))[1:] > 0
        shares = backbone(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
        found.append(shares.gather(1, ids[0, 1:, None])[answered, 0].sum())
    return torch.stack(found).view(-1, 2)


def intents(shared: Path, part: str, size: int) -> pd.DataFrame:
    """Return requests with the right intent and another one."""
    table = read_table(shared / "data" / "snips" / f"{part}.jsonl").sample(size, random_state=0)
    return pd.DataFrame({"text": table.text, "answer": table.intent, "rejected": corrupted(table.intent)})


def started(settings: dict[str, Any], table: pd.DataFrame, folder: Any) -> tuple[Any, Any, Any]:
    """Return model, objective and rows as they are before the first step, with weights that already differ."""
    loaded = load_config(settings)
    model, objective = loaded.build(), loaded.trainer.build()
    model.learn(table)
    objective.learn(model, table)
    model.open(table, seed=1, folder=folder)
    store = objective.store(model, table)
    objective.learn_lengths(model, store)
    model.build(total_steps=10, seed=1, device="cpu")
    objective.begin(model, [store], Alone())
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    return model, objective, store
