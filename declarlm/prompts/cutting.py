"""Shortening rows that do not fit: text of cells goes, longest first; template, answer and stop token stay."""

from __future__ import annotations

from collections.abc import Sequence

from declarlm.prompts.segments import Segment
from declarlm.prompts.tokenization import Tokenization


def cut(segments: Sequence[Segment], excess: int, tokenization: Tokenization) -> list[Segment] | None:
    """Return ``segments`` with about ``excess`` tokens fewer, ``None`` if no cell has text left.

    The longest cells are cut, at their end, to one common length, so that a short cell beside a long one is kept
    whole. A cut can change how the text around it is tokenized: the caller measures again, and cuts again.
    """
    starts = [
        offsets if segment.column is not None else []
        for segment, offsets in zip(segments, tokenization.token_starts(segments), strict=True)
    ]
    if not any(segment.text for segment in segments if segment.column is not None):
        return None
    level = _level([len(offsets) for offsets in starts], excess)
    shortened = [
        segment._replace(text=segment.text[: offsets[level]].rstrip()) if len(offsets) > level else segment
        for segment, offsets in zip(segments, starts, strict=True)
    ]
    if shortened != list(segments):
        return shortened
    return [segment._replace(text="") if segment.column is not None else segment for segment in segments]


def _level(lengths: Sequence[int], excess: int) -> int:
    """Return the greatest length such that cutting all ``lengths`` to it removes at least ``excess``.

    >>> _level([10, 4, 6], 5)
    5
    """
    longest_first = sorted(lengths, reverse=True)
    removed = 0
    for count, (length, following) in enumerate(zip(longest_first, [*longest_first[1:], 0], strict=True), start=1):
        gain = count * (length - following)
        if removed + gain >= excess:
            return length - -(-(excess - removed) // count)
        removed += gain
    return 0
