"""Encoded rows: token ids, what each token is for, and which output it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from declarlm.core import DataError
from declarlm.core.ragged import Ragged

if TYPE_CHECKING:
    import numpy as np

PROMPT, ANSWER, STOP = 0, 1, 2


@dataclass(frozen=True)
class Row:
    """One encoded row.

    Attributes:
        ids: Token ids.
        roles: ``PROMPT``, ``ANSWER`` or ``STOP`` for each token.
        fields: Index of the output that an answer token belongs to, -1 for all others.
        num_cut: Tokens that the prompt lost to fit.
    """

    ids: list[int]
    roles: list[int]
    fields: list[int]
    num_cut: int


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Encoded rows, as many as were given; a dropped one is empty.

    Attributes:
        ids: Token ids, int32.
        roles: As in ``Row``, uint8.
        fields: As in ``Row``, int8.
        num_cut: Tokens of cells that each prompt lost, ``int64 (rows,)``.
        num_left_out: Examples that each prompt lost, ``int64 (rows,)``.
        dropped: Whether a row could not be made to fit, ``bool (rows,)``.
    """

    ids: Ragged
    roles: Ragged
    fields: Ragged
    num_cut: np.ndarray[Any, Any]
    num_left_out: np.ndarray[Any, Any]
    dropped: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Row:
        ids, roles, fields = (part[row].tolist() for part in (self.ids, self.roles, self.fields))
        return Row(ids, roles, fields, int(self.num_cut[row]))


class Span(NamedTuple):
    """A stretch of a previewed row.

    Attributes:
        text: What is written.
        role: "template", "cell", "special", "answer" or "stop".
        column: Column of a cell, output of an answer, else ``None``.
    """

    text: str
    role: str
    column: str | None = None


def encoded_rows(
    prompts: Sequence[list[int]],
    tails: Sequence[tuple[list[int], bytes]],
    num_cut: np.ndarray[Any, Any],
    num_left_out: np.ndarray[Any, Any],
    dropped: np.ndarray[Any, Any],
) -> EncodedRows:
    """Join prompts with their answers; a tail has the output of each token, and its last token is the stop."""
    import numpy as np

    values: list[int] = []
    roles, fields, ends = bytearray(), bytearray(), [0]
    for prompt, (tail, tail_fields) in zip(prompts, tails, strict=True):
        values += prompt
        values += tail
        roles += bytes([PROMPT]) * len(prompt) + bytes([ANSWER]) * (len(tail) - 1) + bytes([STOP]) * bool(tail)
        fields += b"\xff" * len(prompt) + tail_fields
        ends.append(len(values))
    offsets = np.array(ends, dtype=np.int64)
    return EncodedRows(
        Ragged(np.array(values, dtype=np.int32), offsets),
        Ragged(np.frombuffer(roles, dtype=np.uint8), offsets),
        Ragged(np.frombuffer(fields, dtype=np.int8), offsets),
        num_cut,
        num_left_out,
        dropped,
    )


def concatenated(blocks: Sequence[EncodedRows]) -> EncodedRows:
    """Return the rows of all ``blocks``, at least one."""
    import numpy as np

    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.ids.values) for block in blocks)])
    offsets = [block.ids.offsets[1:] + start for block, start in zip(blocks, starts[:-1], strict=True)]
    ends = np.concatenate([np.zeros(1, dtype=np.int64), *offsets])
    return EncodedRows(
        Ragged(np.concatenate([block.ids.values for block in blocks]), ends),
        Ragged(np.concatenate([block.roles.values for block in blocks]), ends),
        Ragged(np.concatenate([block.fields.values for block in blocks]), ends),
        np.concatenate([block.num_cut for block in blocks]),
        np.concatenate([block.num_left_out for block in blocks]),
        np.concatenate([block.dropped for block in blocks]),
    )


def answer_too_long(length: int, limit: int, *, column: str, row: object) -> DataError:
    """Return the error about an answer of ``length`` tokens that leaves no room in the ``limit`` of a row."""
    return DataError(
        f"the answer has {length} tokens, and {limit} fit with its prompt; shorten it, raise "
        "preprocessing.global_max_sequence_length if the model allows it, or set preprocessing.overlong: drop",
        column=column,
        row=row,
    )


def refuse_surrogates(texts: Mapping[str, str], label: object) -> None:
    """Raise an error if a text is none: half of a surrogate pair is no character, and no encoding knows it."""
    for name, text in texts.items():
        broken = next((character for character in text if "\ud800" <= character <= "\udfff"), None)
        if broken is not None:
            message = f"holds the lone surrogate {broken!r}, which is no character; read the file as UTF-8"
            raise DataError(message, column=name, row=label)


def refuse_empty(ids: Sequence[list[int]], dropped: np.ndarray[Any, Any], labels: Sequence[object]) -> None:
    """Refuse a prompt without tokens, from which nothing can be predicted, unless its row is ``dropped``."""
    for row, is_dropped, label in zip(ids, dropped.tolist(), labels, strict=True):
        if not row and not is_dropped:
            raise DataError(
                "the prompt is empty, and the base model has no token that begins a text; write some text of your "
                "own into prompt.template, or leave the row out",
                row=label,
            )
