"""Real tokenizers, and encoders made with them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from declarlm.prompts import Prompt, PromptEncoder

TOKENIZERS = ["stories260K", "TinyStories-656K", "tokenizers/gpt2"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'] "
    "+ ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% endif %}{% endfor %}"
)
HEADERS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def load_tokenizer(shared: Path, name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shared / "models" / name, local_files_only=True)


@pytest.fixture(scope="session", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest, shared: Path) -> Any:
    return load_tokenizer(shared, request.param)


@pytest.fixture(scope="session")
def stories_tokenizer(shared: Path) -> Any:
    return load_tokenizer(shared, "stories260K")


@pytest.fixture(scope="session")
def gpt2_tokenizer(shared: Path) -> Any:
    return load_tokenizer(shared, "tokenizers/gpt2")


def chat_tokenizer(shared: Path, name: str, template: str) -> Any:
    """Return a real tokenizer with the tokens of the usual chat formats, and a chat template."""
    tokenizer = load_tokenizer(shared, name)
    tokenizer.add_special_tokens({"additional_special_tokens": HEADERS})
    tokenizer.chat_template = template
    return tokenizer


def make_encoder(tokenizer: Any, prompt: dict[str, Any] | None = None, **options: Any) -> PromptEncoder:
    """Return an encoder for one text input ``text`` and one output ``label``, unless ``options`` say otherwise."""
    eos_id = tokenizer.eos_token_id
    bos_id = tokenizer.bos_token_id if tokenizer.bos_token_id != eos_id else None
    defaults = {
        "inputs": ["text"],
        "outputs": ["label"],
        "context_length": None,
        "stop_ids": [eos_id],
        "bos_id": bos_id,
        "columns": None,
    }
    return PromptEncoder(Prompt.load(prompt or {}), tokenizer=tokenizer, **{**defaults, **options})


def read_rows(path: Path, count: int) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file)) if path.suffix == ".csv" else list(map(json.loads, file))
    return rows[:: max(1, len(rows) // count)][:count]
