"""Conversations: turns of a user, a model and others, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

Role = Literal["system", "user", "assistant", "tool"]


class Turn(NamedTuple):
    """What one side says.

    Attributes:
        role: Who speaks.
        text: What is said.
        learned: Whether a model is to learn it; it matters for an assistant's turn alone.
    """

    role: Role
    text: str
    learned: bool = True


class Conversation(str):
    """Turns as a cell of the prompt; as plain text, each stands on lines of its own behind its speaker.

    Attributes:
        turns: Who says what, in order.
    """

    __slots__ = ("turns",)
    turns: tuple[Turn, ...]

    def __new__(cls, turns: Sequence[Turn]) -> Self:
        self = super().__new__(cls, "\n".join(f"{turn.role}: {turn.text}" for turn in turns))
        self.turns = tuple(turns)
        return self

    def __getnewargs__(self) -> tuple[tuple[Turn, ...]]:  # type: ignore[override]
        return (self.turns,)  # For copies, and for other processes.

    @property
    def reply(self) -> str | None:
        """What the assistant says last and is to be learned, None if another side has the last word."""
        place = self._reply_place()
        return None if place is None else self.turns[place].text

    @property
    def before_reply(self) -> Conversation:
        """The turns before the reply: all of them if there is none."""
        return Conversation(self.turns[: self._reply_place()])

    def fewer(self) -> Conversation | None:
        """Return the conversation without its oldest exchange, None if there is one only.

        An exchange begins where the user speaks, and system messages in front of the first one stay.
        """
        starts = [
            place
            for place, turn in enumerate(self.turns)
            if turn.role == "user" and (place == 0 or self.turns[place - 1].role != "user")
        ]
        head = [turn for turn in self.turns[: starts[0]] if turn.role == "system"] if starts else []
        if len(starts) > 1:
            return Conversation([*head, *self.turns[starts[1] :]])
        shorter = Conversation([*head, *self.turns[starts[0] :]]) if starts else self
        return shorter if len(shorter.turns) < len(self.turns) else None

    def _reply_place(self) -> int | None:
        if not self.turns or self.turns[-1].role != "assistant":
            return None
        learned = [place for place, turn in enumerate(self.turns) if turn.role == "assistant" and turn.learned]
        return learned[-1] if learned else None
