"""From segments to token ids: the one place where a tokenizer is called."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from declarlm.core import ModelError
from declarlm.prompts.segments import Segment

if TYPE_CHECKING:
    from tokenizers import Tokenizer


_MAX_KNOWN_TEXTS = 10_000


class Place(IntEnum):
    """Where a run of text stands; tokenizers write a space before some of them.

    Attributes:
        START: At the start of the row.
        AFTER_TOKEN: Behind a special token.
        INSIDE: Behind other text, which it continues: an answer, for example.
    """

    START = 0
    AFTER_TOKEN = 1
    INSIDE = 2


class Tokenization:
    """Tokenizes runs of text so that special tokens come only from where they are meant to.

    The model's normalizer, pre-tokenizer and merges are used without its added tokens, so that no text, whatever it
    spells, becomes one. Added tokens that a template spells are found by ``place`` and set by id. Added tokens that
    control nothing (white space, a single letter) are kept, since the model has learned code and prose with them.

    Raises:
        ModelError: If the tokenizer is not of the ``tokenizers`` library.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self._backend is None:
            raise ModelError(f"{type(tokenizer).__name__} is no fast tokenizer: its folder has no tokenizer.json")
        added = tokenizer.added_tokens_decoder
        controls = {index: token for index, token in added.items() if not _controls_nothing(token)}
        self.control_tokens = {token.content: index for index, token in controls.items()}
        unknown = {tokenizer.unk_token_id} - {tokenizer.bos_token_id, tokenizer.eos_token_id}
        self._control_ids = frozenset(controls) - unknown  # What the vocabulary lacks may become the unknown token.
        self._strips = {index: (token.lstrip, token.rstrip) for index, token in controls.items()}
        self._pattern = _any_of(self.control_tokens)
        self._parts: dict[str, list[Segment]] = {}
        letters = {token: index for index, token in added.items() if _controls_nothing(token)}
        self._backends = {place: self._without_controls(place, list(letters)) for place in Place}
        backend = self._backends[Place.INSIDE]
        self._ids = {backend.token_to_id(letter.content): index for letter, index in letters.items()}
        self._ids = {ours: index for ours, index in self._ids.items() if ours != index}

    @cached_property
    def state(self) -> str:
        """Everything that decides which ids a text gets."""
        state = json.loads(self._backend.to_str())
        return json.dumps({**state, "truncation": None, "padding": None}, sort_keys=True)

    def place(self, segments: Iterable[Segment], parsed: Collection[str] = ()) -> list[Segment]:
        """Return ``segments`` with the special tokens that the template spells as segments of their own.

        Args:
            segments: What is to be written.
            parsed: Columns whose cells may spell special tokens too.
        """
        placed: list[Segment] = []
        for segment in segments:
            if segment.column is not None:
                placed += self._split(segment.text, segment.column) if segment.column in parsed else [segment]
                continue
            parts = self._parts.get(segment.text)
            if parts is None:
                if len(self._parts) >= _MAX_KNOWN_TEXTS:
                    self._parts.clear()
                parts = self._parts[segment.text] = list(self._split(segment.text))
            placed += parts
        return placed

    def encode(self, rows: Sequence[Sequence[Segment]], first: Place = Place.START) -> list[list[int]]:
        """Return the token ids of each row; text between two special tokens is one run.

        Args:
            rows: Segments, special tokens placed.
            first: Where the text stands that a row begins with.
        """
        known: list[dict[str, list[int]]] = [{} for _ in Place]
        plans = []
        for row in rows:
            plan = list(self._runs(row, first))
            for run in plan:
                if isinstance(run, tuple):
                    known[run[0]][run[1]] = []
            plans.append(plan)
        for place, texts in zip(Place, known, strict=True):
            texts.update(zip(texts, self.encode_texts(list(texts), place), strict=True))
        encoded = []
        for plan in plans:
            ids: list[int] = []
            for run in plan:
                ids += known[run[0]][run[1]] if isinstance(run, tuple) else (run,)
            encoded.append(ids)
        return encoded

    def encode_texts(self, texts: Sequence[str], place: Place = Place.START) -> list[list[int]]:
        """Return the ids of texts that hold no special tokens, whatever they spell.

        Raises:
            TypeError: If a text holds a lone surrogate.
        """
        if not texts:
            return []
        encoded = self._backends[place].encode_batch_fast(texts, add_special_tokens=False)
        ids = [encoding.ids for encoding in encoded]
        if self._ids:
            ids = [[self._ids.get(token, token) for token in row] for row in ids]
        for index, row in enumerate(ids):
            if not self._control_ids.isdisjoint(row):
                ids[index] = self._encode_apart(texts[index], place)
        return ids

    def token_starts(self, row: Sequence[Segment]) -> list[list[int]]:
        """Return for each segment of a row where in its text each of its tokens starts, in characters."""
        starts: list[list[int]] = [[] for _ in row]
        place, begin = Place.START, 0
        for index in range(len(row) + 1):
            if index == len(row) or row[index].token is not None:
                self._add_starts(row, range(begin, index), place, starts)
                place, begin = Place.AFTER_TOKEN, index + 1
        return starts

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text that ``ids`` continue a text with: a leading space is kept."""
        anchored = self._decode([*self._anchor, *ids])
        return anchored[len(self._decode(self._anchor)) :]

    @cached_property
    def _anchor(self) -> list[int]:
        """A short text before what is decoded: some decoders drop the space that a text starts with."""
        return next((ids for ids in self.encode_texts(["a", "e", ".", "0"], Place.INSIDE) if ids), [])

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _split(self, text: str, column: str | None = None) -> Iterator[Segment]:
        """Yield the text between special tokens, and these."""
        end = 0
        for match in self._pattern.finditer(text):
            yield Segment(text[end : match.start()], column)
            yield Segment(match.group(), None, self.control_tokens[match.group()])
            end = match.end()
        yield Segment(text[end:], column)

    def _runs(self, row: Sequence[Segment], first: Place) -> Iterator[int | tuple[Place, str]]:
        """Yield special tokens by id, and the runs of text between them."""
        place, texts, strip_left = first, [], False
        for text, _, token, _ in row:
            if token is None:
                texts.append(text)
                continue
            strips = self._strips[token]
            run = _stripped("".join(texts), strip_left, strips[0])
            if run:
                yield place, run
            yield token
            place, texts, strip_left = Place.AFTER_TOKEN, [], strips[1]
        run = _stripped("".join(texts), strip_left, False)
        if run:
            yield place, run

    def _add_starts(self, row: Sequence[Segment], run: range, place: Place, starts: list[list[int]]) -> None:
        text = "".join([row[index].text for index in run])
        offsets = [start for start, _ in self._backends[place].encode(text, add_special_tokens=False).offsets]
        end, token = 0, 0
        for index in run:
            begin, end = end, end + len(row[index].text)
            while token < len(offsets) and offsets[token] < end:
                starts[index].append(max(0, offsets[token] - begin))
                token += 1

    def _encode_apart(self, text: str, place: Place) -> list[int]:
        """Return the ids of a text from which the tokenizer made a special token, with none.

        A unigram vocabulary holds its control tokens as ordinary pieces, so that the text ``</s>`` becomes one.
        """
        borders = [0, *(match.start() + 1 for match in self._pattern.finditer(text)), len(text)]
        words = [text[start:end] for start, end in pairwise(borders)]
        for pieces in (words, list(text)):
            places = [place] + [Place.INSIDE] * (len(pieces) - 1)
            ids = [
                self._ids.get(token, token)
                for piece, where in zip(pieces, places, strict=True)
                for token in self._backends[where].encode(piece, add_special_tokens=False).ids
            ]
            if self._control_ids.isdisjoint(ids):
                return ids
        raise ModelError(f"the tokenizer makes a control token from the plain text {text[:50]!r}")

    def _without_controls(self, place: Place, letters: list[Any]) -> Tokenizer:
        """Return a tokenizer that shares the model's vocabulary and merges."""
        from tokenizers import Tokenizer

        bare = Tokenizer(self._backend.model)
        if self._backend.normalizer is not None:
            bare.normalizer = _without_prefix(self._backend.normalizer, place)
        if self._backend.pre_tokenizer is not None:
            bare.pre_tokenizer = _without_prefix(self._backend.pre_tokenizer, place)
        bare.add_tokens(letters)
        return bare


def _controls_nothing(token: Any) -> bool:
    """Return whether an added token is plain text: white space or a letter that is not marked as special."""
    return not token.special and (len(token.content) == 1 or not token.content.replace("\u2581", " ").strip())


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds the longest of ``texts``."""
    longest_first = sorted(map(re.escape, texts), key=len, reverse=True)
    return re.compile("|".join(longest_first) or r"(?!)")


def _stripped(text: str, left: bool, right: bool) -> str:
    """Return what special tokens that swallow the white space beside them leave of a text."""
    text = text.lstrip() if left else text
    return text.rstrip() if right else text


def _without_prefix(component: Any, place: Place) -> Any:
    """Return a normalizer or pre-tokenizer that adds no space in front, where it would do so only at a start."""
    if place is Place.START:
        return component
    changed = copy.deepcopy(component)
    changed.__setstate__(json.dumps(_state_without_prefix(json.loads(component.__getstate__()), place)).encode())
    return changed


def _state_without_prefix(state: dict[str, Any], place: Place) -> dict[str, Any]:
    if "normalizers" in state or "pretokenizers" in state:
        key = "normalizers" if "normalizers" in state else "pretokenizers"
        if any(part["type"] == "WhitespaceSplit" for part in state[key]):
            return state  # There the prefix is not added to a text: it stands for the space before each word.
        parts = [_state_without_prefix(part, place) for part in state[key]]
        return {**state, key: [part for part in parts if part]}
    if state["type"] == "Metaspace" and (place is Place.INSIDE or state["prepend_scheme"] == "first"):
        return {**state, "prepend_scheme": "never"}
    if place is Place.AFTER_TOKEN:
        return state
    if state["type"] == "ByteLevel":
        return {**state, "add_prefix_space": False}
    if state["type"] == "Strip":
        return {**state, "strip_left": False}
    return {"type": "Sequence", "normalizers": []} if state["type"] == "Prepend" else state
