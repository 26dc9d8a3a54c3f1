"""The same prompt with each of several answers, such as a chosen and a rejected one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from declarlm.prompts.encoder import PromptEncoder
from declarlm.prompts.rows import ANSWER, EncodedRows, encoded_rows

if TYPE_CHECKING:
    Tail = tuple[list[int], bytes]


def encode_beside(
    encoder: PromptEncoder,
    cells: Sequence[Mapping[str, Any]],
    answers: Sequence[Sequence[Sequence[str]]],
    *,
    row_labels: Sequence[object],
    overlong: Literal["cut", "error", "drop"] = "cut",
) -> EncodedRows:
    """Return each row once for each of its answers, one after the other: all have the very same prompt.

    A row that is too long loses text of its cells until its longest answer fits, but keeps half of the context for
    its prompt; an answer that is still too long loses its end, and with it the stop token. Where ``overlong`` is
    "drop", no answer is cut: a row that does not fit is empty, for each of its answers.

    Args:
        encoder: Makes the tokens.
        cells: For each row, the cells that the prompt reads.
        answers: Several answers to each row: for each of them, for each row, the text of each output.
        row_labels: Names of the rows in errors.
        overlong: What happens to rows that are too long.

    Raises:
        DataError: If a row cannot be written, or is too long and ``overlong`` is "error".
    """
    import numpy as np

    several = [encoder.tails(texts, row_labels) for texts in answers]
    limit = encoder.context_length
    longest = [max(len(tail) for tail, _ in tails) for tails in zip(*several, strict=True)]
    if limit is not None and overlong == "cut":
        longest = [min(length, limit - limit // 2) for length in longest]
    fitted = encoder.fit(cells, row_labels, overlong, [(length, length) for length in longest])
    prompts: list[list[int]] = []
    tails: list[Tail] = []
    lost: list[int] = []
    for row, (prompt, gone) in enumerate(zip(fitted.ids, fitted.dropped.tolist(), strict=True)):
        for kind in several:
            tail, lacking = _within(kind[row], 0 if gone else None if limit is None else limit - len(prompt))
            prompts.append(prompt)
            tails.append(tail)
            lost.append(0 if gone else lacking)
    cut = np.array(lost, dtype=np.int64)
    found = (fitted.num_cut, fitted.num_left_out, fitted.dropped)
    num_cut, left_out, dropped = (np.repeat(values, len(several)) for values in found)
    encoded = encoded_rows(prompts, tails, num_cut + cut, left_out, dropped)
    encoded.roles.values[encoded.roles.offsets[1:][cut > 0] - 1] = ANSWER  # What was cut has no end to be learned.
    return encoded


def _within(tail: Tail, room: int | None) -> tuple[Tail, int]:
    """Return the tokens of an answer that fit, and how many do not."""
    ids, fields = tail
    if room is None or len(ids) <= room:
        return tail, 0
    return (ids[:room], fields[:room]), len(ids) - room
