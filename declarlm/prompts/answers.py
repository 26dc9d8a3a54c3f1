"""What the model answers: the text of one or several outputs, and the tokens that each has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from declarlm.prompts.segments import Segment
from declarlm.prompts.templates import Parts
from declarlm.prompts.tokenization import Place, Tokenization


@dataclass(frozen=True)
class _Slot:
    """The place of one output.

    Attributes:
        literal: Text before it.
        lead: The space that belongs to its first word, empty if there is none.
        place: Where its text stands.
        prefix: What decoding its tokens gives before its text.
    """

    literal: str
    lead: str
    place: Place
    prefix: str


class Answers:
    """Encodes and decodes answers. Borders between outputs and the text around them are borders between tokens.

    A space in front of an output belongs to the output's first word, as it does for tokenizers.
    """

    def __init__(self, parts: Parts, lead: str, place: Place, stop_id: int, tokenization: Tokenization) -> None:
        self._tokenization = tokenization
        self._slots: list[_Slot] = []
        self.literals: list[list[int]] = []
        text = lead
        for part in parts:
            if isinstance(part, str):
                text += part
                continue
            space = " " if text.endswith(" ") else ""
            literal = text.removesuffix(space)
            ids, place = self._literal_ids(literal, place)
            self._slots.append(_Slot(literal, space, place, self._decoded_prefix(space, place)))
            self.literals.append(ids)
            text, place = "", Place.INSIDE
        self._closing = text if self._slots else ""
        self._end = [*self._literal_ids(self._closing, place)[0], stop_id]

    def encode(self, answers: Sequence[Sequence[str]]) -> list[tuple[list[int], bytes]]:
        """Return for each row the tokens of its answer with the stop token, and the output of each (255 for none).

        Raises:
            TypeError: If a text holds a lone surrogate.
        """
        known = []
        for index in range(len(self._slots)):
            texts = list(dict.fromkeys(answer[index] for answer in answers))
            known.append(dict(zip(texts, self.ids_of_all(index, texts), strict=True)))
        encoded = []
        for answer in answers:
            ids: list[int] = []
            fields = b""
            for index, (literal, ids_of) in enumerate(zip(self.literals, known, strict=True)):
                value = ids_of[answer[index]]
                ids += literal
                ids += value
                fields += b"\xff" * len(literal) + bytes([index]) * len(value)
            encoded.append((ids + self._end, fields + b"\xff" * len(self._end)))
        return encoded

    def ids_of(self, index: int, text: str, *, last: bool) -> list[int]:
        """Return the tokens of an output, with all that follows the last output if ``last``."""
        return self.ids_of_all(index, [text])[0] + (self._end if last else [])

    def ids_of_all(self, index: int, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens that each of several texts has as an output."""
        slot = self._slots[index]
        return self._tokenization.encode_texts([slot.lead + text if text else "" for text in texts], slot.place)

    def text_of(self, ids: Sequence[int], index: int) -> str:
        """Return the text of an output from its tokens."""
        return self._tokenization.decode(ids).removeprefix(self._slots[index].prefix)

    def stretches(self, answer: Sequence[str]) -> list[tuple[str, int | None]]:
        """Return the text of an answer and the output that each part is, ``None`` for text between outputs."""
        parts: list[tuple[str, int | None]] = []
        for index, (slot, text) in enumerate(zip(self._slots, answer, strict=True)):
            parts += [(slot.literal, None), (slot.lead * bool(text) + text, index)]
        return [(text, index) for text, index in [*parts, (self._closing, None)] if text]

    def _literal_ids(self, literal: str, place: Place) -> tuple[list[int], Place]:
        """Return the tokens of the template's text, and where the text behind it stands."""
        placed = [part for part in self._tokenization.place([Segment(literal)]) if part.text]
        if not placed:
            return [], place
        after = Place.INSIDE if placed[-1].token is None else Place.AFTER_TOKEN
        return self._tokenization.encode([placed], place)[0], after

    def _decoded_prefix(self, lead: str, place: Place) -> str:
        decoded = self._tokenization.decode(self._tokenization.encode_texts([f"{lead}a"], place)[0])
        return decoded.removesuffix("a") if decoded.endswith("a") else lead
