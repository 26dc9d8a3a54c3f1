"""What a model's files may ask for. They are data from strangers: nothing in them may choose code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from declarlm.core import ModelError, RefusedError

UNSAFE_WEIGHTS = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack"}
CONFIG_BYTES = 20_000_000
VOCABULARY_BYTES = 500_000_000
_READ = (
    *("config.json", "generation_config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "chat_template*.json", "processor_config.json"),
)
# Well above any published model; a larger number only serves to fill the memory or to keep the machine busy.
_LIMITS = [
    (("layers", "n_layer"), 2_000),
    (("position", "ctx", "length"), 100_000_000),
    (("size", "dim", "embd", "inner", "d_model", "d_ff", "head", "expert"), 10_000_000),
]


def check_base(folder: Path, *, trust_remote_code: bool = False) -> None:
    """Check the files of a base before any library reads them.

    Raises:
        ModelError: If this is not a base in Hugging Face's format with safetensors weights.
        RefusedError: If its files would run code, or describe a model of an absurd size.
    """
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds an adapter; write it as adapter.pretrained_adapter_weights, and its base as base_model"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no config.json")
    check_tokenizer(folder, trust_remote_code=trust_remote_code)
    check_weights(folder, "model")


def check_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> None:
    """Check the JSON files that a library reads; what else lies in the folder, such as training notes, is not opened.

    Raises:
        ModelError: If one is damaged.
        RefusedError: If one would run code, or is of an absurd size.
    """
    for path in sorted({path for pattern in _READ for path in folder.glob(pattern)}):
        is_config = path.name.endswith("config.json")
        data = _read(path, CONFIG_BYTES if is_config else VOCABULARY_BYTES)
        if is_config:
            _check_config(path, data, trust_remote_code)


def check_weights(folder: Path, stem: str) -> None:
    """Check that the folder's weights are safetensors files of its own.

    Raises:
        ModelError: If there are no weights.
        RefusedError: If there are only weights in a format that can run code, or they lie elsewhere.
    """
    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        names = set(_read(index, VOCABULARY_BYTES).get("weight_map", {}).values())
        for name in sorted(map(str, names)):
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise RefusedError(f"{index} names {name!r}; weights must be .safetensors files in the same folder")
            if not (folder / name).is_file():
                raise ModelError(f"{folder} lacks {name}, a part of its weights; copy or download the folder again")
        return
    if (folder / f"{stem}.safetensors").is_file():
        return
    unsafe = sorted(path.name for path in folder.iterdir() if path.suffix in UNSAFE_WEIGHTS)
    if unsafe:
        raise RefusedError(
            f"{folder} has no {stem}.safetensors, and {unsafe[0]} is not opened because it can run code; "
            "convert it to safetensors where you trust it"
        )
    raise ModelError(f"{folder} has no weights: expected {stem}.safetensors")


def check_adapter_config(folder: Path) -> dict[str, Any]:
    """Return the adapter's own config, once nothing in it selects code.

    Raises:
        ModelError: If this is not an adapter in PEFT's format.
        RefusedError: If the config names modules to import.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ModelError(f"{folder} is not an adapter folder: it has no adapter_config.json")
    data = _read(path, VOCABULARY_BYTES)
    # PEFT imports the Python modules that these name.
    for key in ("auto_mapping", "megatron_config"):
        if data.get(key):
            raise RefusedError(f"{path} sets {key!r}, which chooses code to import; remove it from the file")
    _check_config(path, data, trust_remote_code=False)
    return data


def _read(path: Path, most: int) -> dict[str, Any]:
    size = path.stat().st_size
    if size > most:
        raise RefusedError(f"{path} has {size:,} bytes, more than the {most:,} that such a file can need")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is damaged: it must hold a mapping")
    return data


def _check_config(path: Path, data: dict[str, Any], trust_remote_code: bool) -> None:
    for place, key, value in _entries(data):
        if key in ("auto_map", "trust_remote_code", "custom_pipelines") and value and not trust_remote_code:
            raise RefusedError(
                f"{path} sets {place!r}: the model brings its own Python code, which is not run; "
                "read that code and then open it from Python with trust_remote_code=True, or choose another base"
            )
        # Old files carry a flag of this name; text can name a kernel on the Hub, which is code.
        if key.endswith("attn_implementation") and isinstance(value, str | dict):
            raise RefusedError(f"{path} sets {place!r} to {value!r}, which can load code; remove it from the file")
        limit = next((most for words, most in _LIMITS if any(word in key for word in words)), None)
        if path.name == "config.json" and limit is not None and isinstance(value, int) and value > limit:
            raise RefusedError(f"{path} sets {place!r} to {value:,}, more than any real model has ({limit:,})")


def _entries(data: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield ``(path, key, value)`` of every entry of nested mappings and lists."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        place = f"{path}.{key}" if path else str(key)
        yield place, str(key), value
        yield from _entries(value, place)
