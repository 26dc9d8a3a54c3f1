"""Cells of a table as a language model reads and writes them, and how many tokens that may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

    from declarlm.features.base import Feature, InputFeature, OutputFeature

ANSWER_TOKENS, NUMBER_TOKENS = 256, 24  # most tokens of an answer where no training row shows how long one is


def rendered(feature: InputFeature, table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return a column as it stands in a prompt, cut where the config says so."""
    return _shortened(feature.render(table[feature.config.source]), most_tokens(feature), tokenizer)


def answers_of(output: OutputFeature, table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the text that is to be written for each row, cut where the config says so."""
    return _shortened(output.answers(table[output.config.source]), most_tokens(output), tokenizer)


def most_tokens(feature: Feature) -> int | None:
    """Return the tokens of a text that a column's config lets a model read or write, ``None`` for all."""
    length: int | None = getattr(feature.config.preprocessing, "max_sequence_length", None)
    return length


def parses(feature: InputFeature) -> bool:
    """Return whether what a column spells may be special tokens."""
    return bool(getattr(feature.config.preprocessing, "parse_special_tokens", False))


def unseen_tokens(output: OutputFeature) -> int:
    """Return the most tokens of an answer where no training row shows how long one is."""
    return NUMBER_TOKENS if output.config.type == "number" else ANSWER_TOKENS


def _shortened(texts: list[str], length: int | None, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return texts up to the end of their ``length``-th token, all of them without a ``length``."""
    if length is None:
        return texts
    long = [place for place, text in enumerate(texts) if len(text.encode()) > length]  # a token has a byte at least
    if not long:
        return texts
    found = tokenizer([texts[place] for place in long], add_special_tokens=False, return_offsets_mapping=True)
    cut = list(texts)
    for place, offsets in zip(long, found["offset_mapping"], strict=True):
        if len(offsets) > length:
            end = min(offsets[length - 1][1], offsets[length][0])  # where a character has several tokens, before it
            cut[place] = texts[place][:end]
    return cut
