"""A first look at a base by its plain files, in milliseconds: what no prompt could make fit is told before the wait."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.backbones.find import find_folder
from declarlm.backbones.trust import check_base
from declarlm.prompts.rows import answer_too_long

if TYPE_CHECKING:
    import pandas as pd
    from tokenizers import Tokenizer

    from declarlm.backbones.parameters import RopeScaling

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
_LOOKED_AT = 8  # answers, the longest by characters


@dataclass(frozen=True, eq=False)
class Glance:
    """What the files of a base say of its lengths.

    Attributes:
        folder: Where its files are.
        context_length: Most tokens of a row; ``None`` where the files name no limit.
        reads_apart: Whether an encoder reads the prompt and a decoder writes the answer.
    """

    folder: Path
    context_length: int | None
    reads_apart: bool = False

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Its tokenizer; ``None`` where there is no plain ``tokenizer.json``."""
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        except Exception:  # noqa: BLE001 The library raises plain ones; opening the base will say what is wrong.
            return None

    def check_lengths(self, texts: Sequence[str], limit: int | None, column: str, labels: pd.Index) -> None:
        """Refuse texts that have more tokens than a whole row may have; the longest few are looked at.

        Args:
            texts: The answers, one a row.
            limit: Most tokens of a row that the config allows.
            column: The column that they stand in.
            labels: Names of the rows.

        Raises:
            DataError: With the first such row that is found.
        """
        most = min(filter(None, (self.context_length, limit)), default=None)
        if most is None or self.tokenizer is None:
            return
        for row in sorted(nlargest(_LOOKED_AT, range(len(texts)), key=lambda row: len(texts[row]))):
            length = len(self.tokenizer.encode(texts[row], add_special_tokens=False).ids) + 1  # and the stop token
            if length > most:
                raise answer_too_long(length, most, column=column, row=labels[row])


def glance_at(name: str, rope: RopeScaling | None = None) -> Glance:
    """Find and check a base and read what its files say of lengths, without the libraries that load it.

    Args:
        name: As for ``open_backbone``.
        rope: How its context becomes longer.

    Raises:
        ModelError: If it cannot be found or is no base.
        RefusedError: If its files are unsafe to open.
    """
    folder = find_folder(name)
    check_base(folder)
    config = _object(folder / "config.json")
    lengths = (_context(config), _tokenizer_limit(folder))
    length = min(filter(None, lengths), default=None)
    if length is not None and rope is not None:
        length = int(length * rope.factor)
    return Glance(folder, length, config.get("is_encoder_decoder") is True)


def first_length(get: Callable[[str], Any]) -> int | None:
    """Return the context length of an architecture, whose values ``get`` gives by name; ``None`` if it names none."""
    found = (get(name) for name in _CONTEXT_NAMES)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _context(config: Mapping[str, Any]) -> int | None:
    text = config.get("text_config")
    values = {**config, **text} if isinstance(text, Mapping) else config
    return first_length(values.get)


def _tokenizer_limit(folder: Path) -> int | None:
    limit = _object(folder / "tokenizer_config.json").get("model_max_length")
    return limit if isinstance(limit, int) and 0 < limit < 1e9 else None  # tokenizers without a limit say 1e30


def _object(path: Path) -> Mapping[str, Any]:
    """Return a JSON file's object; an unusable file is empty here and refused when the base is opened."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, Mapping) else {}
