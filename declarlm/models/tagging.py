"""Outputs with one value for each word of an input: which token stands for a word, and rows of different lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from declarlm.core.ragged import Ragged
from declarlm.encoders.tokens import word_tokens
from declarlm.features.sequence import SequenceOutput
from declarlm.features.words import tagged_input

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from declarlm.encoders.base import Encoder
    from declarlm.features.base import InputFeature, OutputFeature


def tagged_inputs(inputs: Sequence[InputFeature], outputs: Sequence[OutputFeature]) -> dict[str, Any]:
    """Return for each output with a value for each word, by name, the input that has the words."""
    features = {feature.name: feature for feature in inputs}
    sections = [feature.config for feature in inputs]
    return {output.name: features[tagged_input(output.config, sections).name] for output in outputs if output.per_word}


def check_words(outputs: Sequence[OutputFeature], tagged: Mapping[str, Any], table: pd.DataFrame) -> None:
    """Refuse a row that has not one tag for each word.

    Raises:
        DataError: With column, row and both numbers.
    """
    for output in outputs:
        if output.name in tagged:
            feature, tags = tagged[output.name], cast(SequenceOutput, output)
            num_words = [len(spans) for spans in feature.words(table[feature.config.source])]
            tags.check_words(table[output.config.source], feature.config.source, num_words)


def tokens_of_words(encoder: Encoder, feature: Any, table: pd.DataFrame) -> Ragged:
    """Return which token of its row stands for each word, ``int32``; -1 where none does."""
    column = table[feature.config.source]
    spans = encoder.token_spans(feature.transform(column))
    return word_tokens(spans, feature.words(column), last=encoder.left_to_right)


def word_batch(tokens: Ragged) -> dict[str, torch.Tensor]:
    """Return row and token of each word of a batch, ``int64 (words,)`` each; of a word without token, the first."""
    import numpy as np
    import torch

    rows = np.repeat(np.arange(len(tokens)), tokens.lengths)
    return {"rows": torch.from_numpy(rows), "tokens": torch.from_numpy(tokens.values.astype(np.int64).clip(min=0))}


def flat(values: np.ndarray[Any, Any] | Ragged, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the values of the given rows; those of words, one row after another."""
    return values.take(rows).values if isinstance(values, Ragged) else values[rows]


def known_targets(targets: Ragged, tokens: Ragged) -> Ragged:
    """Return the targets with those of words without a token unknown."""
    import numpy as np

    return Ragged(np.where(tokens.values < 0, -1, targets.values), targets.offsets)


def unscored(tokens: Ragged, num_scores: int) -> Ragged:
    """Return scores of words, ``float32 (words, scores)``, that are still to be filled in."""
    import numpy as np

    return Ragged(np.zeros((len(tokens.values), num_scores), dtype=np.float32), tokens.offsets)


def fill_in(scores: np.ndarray[Any, Any] | Ragged, rows: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> None:
    """Write what was found about the given rows; of words, one row after another."""
    import numpy as np

    if isinstance(scores, Ragged):
        starts = scores.offsets
        rows, scores = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows]), scores.values
    scores[rows] = found


def without_unread(scores: Ragged, tokens: Ragged) -> Ragged:
    """Return the scores with those of words without a token as NaN."""
    import numpy as np

    return Ragged(np.where(tokens.values[:, None] < 0, np.nan, scores.values), scores.offsets)
