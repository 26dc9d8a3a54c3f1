"""Conversations to token ids: every turn of the assistant is an answer, made of the same tokens as the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from declarlm.core import DataError, ModelError
from declarlm.core.ragged import Ragged
from declarlm.prompts.chat import UNSAID, Frame, Slot, chat_frame
from declarlm.prompts.encoder import PromptEncoder
from declarlm.prompts.fitting import Fitted
from declarlm.prompts.prompt import Prompt
from declarlm.prompts.rows import ANSWER, STOP, EncodedRows, Span
from declarlm.prompts.segments import Segment, strip

# What stands in for a chat template where a tokenizer has none, or prompt.chat is false.
PLAIN = (
    "{% for message in messages %}{{ '\\n\\n' if not loop.first }}{{ message['role'] | capitalize }}: "
    "{{ message['content'] }}{% endfor %}{{ '\\n\\nAssistant:' if add_generation_prompt }}"
)


class ConversationEncoder(PromptEncoder):
    """Makes the tokens of rows whose one input is a conversation, and whose one output is what is said next.

    The whole conversation goes through the chat template. Turns of the assistant have the tokens that an answer has,
    each closed by the stop token, so that a turn is the same whether it is learned, written or read. A conversation
    that is too long loses its oldest exchanges first.

    In the ids of a prompt, a token ``t`` of an earlier turn that is learned stands as ``~t``, which is below 0, until
    the row is complete.

    Args:
        prompt: The section, without templates but for ``system``, which stands in front of a conversation that has no
            system message of its own.
        replies: Whether the answer is the conversation's own last turn; earlier turns of the assistant are learned
            too. Otherwise the answer comes from another column, and the conversation is only read.
        options: As of ``PromptEncoder``.
    """

    _must_stay = "conversation at its shortest"

    def __init__(self, prompt: Prompt, *, replies: bool = True, **options: Any) -> None:
        self._frames: dict[tuple[str, ...], Frame] = {}
        self._replies = replies
        (self._name,) = options["inputs"]
        super().__init__(prompt, **options)
        template = self._chat_template()
        self._given["conversation"] = {"template": template, "replies": replies}
        if template == PLAIN and options["bos_id"] is not None:
            self._bos = [options["bos_id"]]

    def tails(self, answers: Sequence[Sequence[str]], labels: Sequence[object]) -> list[tuple[list[int], bytes]]:
        slot = self._make_frame().answer
        return super().tails([[_stripped(text, slot) for text in answer] for answer in answers], labels)

    def _chat_template(self) -> str:
        return super()._chat_template() or PLAIN

    def _make_frame(self) -> Frame:
        return self._frame_of(("user",), None)

    def _frame_of(self, roles: tuple[str, ...], label: object, unsaid: str = UNSAID) -> Frame:
        """Return what the chat template puts around turns of the given roles; errors say ``unsaid``."""
        if roles not in self._frames:
            try:
                self._frames[roles] = chat_frame(self._tokenizer, self._chat_template(), roles, unsaid)
            except ModelError as error:
                if label is None:
                    raise
                message = f"its turns are {', '.join(roles)}" if roles else "it has no turn before what is answered"
                raise DataError(f"{message}: {error}", column=self._name, row=label) from None
        return self._frames[roles]

    def _segments(self, cells: Mapping[str, Any], label: object) -> list[Segment]:
        turns = cells[self._name].turns
        roles: list[str] = [turn.role for turn in turns]
        contents = [[Segment(turn.text, self._name)] for turn in turns]
        learned = [self._replies and turn.learned for turn in turns]
        unsaid = "leave system messages out of the column"
        if self._system is not None and roles[:1] != ["system"]:
            unsaid = UNSAID
            roles, contents = ["system", *roles], [self._system.render(cells, label), *contents]
            learned = [False, *learned]
        pieces = self._frame_of(tuple(roles), label, unsaid).pieces
        segments: list[Segment] = []
        for piece, following in zip_longest(pieces, pieces[1:]):
            if isinstance(piece, str):
                answers = isinstance(following, Slot) and roles[following.message] == "assistant"
                text = piece.removesuffix(self._make_frame().lead) if answers else piece
                segments += self._between(text, segments)
                continue
            content = strip(contents[piece.message], left=piece.strip_left, right=piece.strip_right)
            if roles[piece.message] == "assistant":
                stop = self._tokenizer.convert_ids_to_tokens(self.stop_id)
                is_learned = learned[piece.message]
                said = "".join(segment.text for segment in content)
                segments += [Segment(said, None, None, is_learned), Segment(stop, None, self.stop_id, is_learned)]
            else:
                segments += content
        return segments

    def _between(self, text: str, before: Sequence[Segment]) -> list[Segment]:
        """Return what a template writes between turns, without a stop token that already stands before it."""
        placed = self._tokenization.place([Segment(text)])
        first = next((place for place, segment in enumerate(placed) if segment.text.strip()), len(placed))
        stopped = bool(before) and before[-1].learned is not None
        if stopped and first < len(placed) and placed[first].token == self.stop_id:
            return placed[first + 1 :]
        return placed

    def _encode_prompts(self, prompts: Sequence[Sequence[Segment]]) -> list[list[int]]:
        parts = [list(_parts(prompt)) for prompt in prompts]
        said = list({part.text: None for row in parts for part in row if isinstance(part, Segment)})
        found = zip(said, self._answers.ids_of_all(0, said), strict=True)
        answers = {text: [*self.literals[0], *ids] for text, ids in found}
        others = iter(self._tokenization.encode([part for row in parts for part in row if isinstance(part, list)]))
        encoded = []
        for row in parts:
            ids: list[int] = []
            for part in row:
                if isinstance(part, Segment):
                    ids += [~token for token in answers[part.text]] if part.learned else answers[part.text]
                else:
                    read = next(others)
                    # What follows an answer starts with its stop token.
                    ids += [~read[0], *read[1:]] if part and part[0].learned else read
            encoded.append(self._begun(ids))
        return encoded

    def fit(self, *args: Any) -> Fitted:
        # Who asks for prompts alone learns none of their turns.
        fitted = super().fit(*args)
        return fitted._replace(ids=[[max(token, ~token) for token in row] for row in fitted.ids])

    def _fit(self, cells: Sequence[Mapping[str, Any]], labels: Sequence[object], *args: Any) -> Fitted:
        for row, label in zip(cells, labels, strict=True):
            if not row[self._name].turns:
                raise DataError("has no turns, so that there is nothing to answer", column=self._name, row=label)
        if self._replies:  # The reply goes before turns are left out, so that it is the same one.
            cells = [{**row, self._name: row[self._name].before_reply} for row in cells]
        return super()._fit(cells, labels, *args)

    def _fitted(self, *args: Any) -> tuple[list[list[Segment]], EncodedRows]:
        prompts, rows = super()._fitted(*args)
        return prompts, _with_roles(rows, self.stop_id, learns=args[1] is not None)

    def _answered(self) -> list[str]:
        return [self._name] if self._replies else super()._answered()

    def _shrinks(self, overlong: str) -> str | None:
        return None if overlong == "error" else self._name

    def _span(self, segment: Segment) -> Span:
        if segment.learned is None or segment.token is not None:
            return super()._span(segment)
        text = "".join(text for text, _ in self._answers.stretches([segment.text]))
        return Span(text, "answer" if segment.learned else "cell", self._outputs[0] if segment.learned else self._name)


def _stripped(text: str, slot: Slot) -> str:
    """Return the text of a turn as the chat template writes it."""
    text = text.lstrip() if slot.strip_left else text
    return text.rstrip() if slot.strip_right else text


def _parts(prompt: Sequence[Segment]) -> Iterator[Segment | list[Segment]]:
    """Yield the answers in a prompt, and lists of what is between them."""
    between: list[Segment] = []
    for segment in prompt:
        if segment.learned is None or segment.token is not None:
            between.append(segment)
            continue
        yield between
        yield segment
        between = []
    yield between


def _with_roles(rows: EncodedRows, stop_id: int, *, learns: bool) -> EncodedRows:
    """Return rows in which the tokens below 0 are what they stand for, learned if ``learns``."""
    import numpy as np

    earlier = rows.ids.values < 0
    ids = np.where(earlier, ~rows.ids.values, rows.ids.values)
    roles, fields = rows.roles.values.copy(), rows.fields.values.copy()
    if learns:
        roles[earlier] = np.where(ids[earlier] == stop_id, STOP, ANSWER)
        fields[earlier & (ids != stop_id)] = 0
    offsets = rows.ids.offsets
    return replace(rows, ids=Ragged(ids, offsets), roles=Ragged(roles, offsets), fields=Ragged(fields, offsets))
