"""Model folders to spoil: copies of a real one, and tiny ones of other families."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def copied(stories: str, tmp_path: Path) -> Callable[..., Path]:
    """Copies the small Llama, with some entries of one of its JSON files changed."""

    def copy(changes: dict[str, Any] | None = None, file: str = "config.json", name: str = "copy") -> Path:
        folder = tmp_path / name
        shutil.copytree(stories, folder, copy_function=shutil.copy)
        folder.chmod(0o755)
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **(changes or {})}))
        return folder

    return copy


@pytest.fixture
def bert(stories: str, tmp_path: Path) -> Path:
    """A tiny BERT with random weights and a head for gaps, so without a pooler."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    folder = tmp_path / "bert"
    BertForMaskedLM(BertConfig(vocab_size=512, max_position_embeddings=64, **shape)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(stories) / name, folder / name)
    return folder
