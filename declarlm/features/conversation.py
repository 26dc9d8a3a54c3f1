"""Conversation features: lists of turns, each with a role and a content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from declarlm.core import DataError, Section, param
from declarlm.core.fields import shown
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import InputFeature, input_features
from declarlm.features.lists import parts_of
from declarlm.prompts.segments import is_missing
from declarlm.prompts.turns import Conversation, Role, Turn

if TYPE_CHECKING:
    import pandas as pd

ROLES: dict[str, Role] = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "ipython"), "tool"),
}
_EXAMPLE = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]'


class ConversationPreprocessing(Section):
    """How the cells of a conversation are read."""

    missing_value_strategy: Literal["error", "drop_row"] = param(
        "What is done about a row without a conversation.", default="error"
    )


@input_features.register("conversation")
class ConversationInput(InputFeature):
    """Turns of a user and an assistant, such as a support chat.

    A cell is a list of mappings with ``role`` and ``content``, or ``from`` and ``value``, or JSON text of such a list.
    As the only input of a language model with one text output, and without ``prompt.template`` and ``prompt.task``,
    the conversation goes through the chat template, and every turn of the assistant is learned, but for those with
    ``weight: 0`` or ``train: false``. Everywhere else it is read as one text, ``user: Hi`` and so on, a turn a line.
    """

    emits = "text"
    default_encoder = "tf_idf"

    class Config(InputFeature.Config):
        preprocessing: ConversationPreprocessing = param("How cells are read.", default=ConversationPreprocessing())
        encoder: Encoder.Config | None = param(
            "How texts become vectors (ecd), tf_idf if null.", default=None, registry=encoders.where(accepts="text")
        )

    class State(InputFeature.State):
        fill: str | None = param("What stands for a missing cell: nothing does.", default=None)

    def fit(self, column: pd.Series) -> Self:
        self.fill(self.read(column))
        return self.without_rows()

    def without_rows(self) -> Self:
        self.state = self.State()
        return self

    def keep(self, column: pd.Series) -> Any:
        return super().keep(self.read(column))

    def read(self, column: pd.Series) -> pd.Series:
        return as_conversations(column)

    def transform(self, column: pd.Series) -> list[str]:
        return list(self.fill(self.read(column)))

    def render(self, column: pd.Series) -> list[str]:
        return [Conversation([]) if cell is None else cell for cell in self.read(column)]


def as_conversations(column: pd.Series) -> pd.Series:
    """Return the column as conversations, with None where a cell is missing or an empty list, ``object (rows,)``.

    Raises:
        DataError: With the first cell that holds no turns, and what is wrong with it.
    """
    import pandas as pd

    cells = zip(column.tolist(), column.isna().tolist(), column.index, strict=True)
    found = [None if missing else _conversation(cell, str(column.name), row) for cell, missing, row in cells]
    return pd.Series(found, index=column.index, name=column.name, dtype=object)


def _conversation(cell: Any, column: str, row: object) -> Conversation | None:
    turns = parts_of(cell)
    if turns is None:
        if isinstance(cell, str) and not cell.strip():
            return None
        raise DataError(f"{shown(cell)} is no conversation; write a list such as {_EXAMPLE}", column=column, row=row)
    try:
        return Conversation([_turn(turn) for turn in turns]) if turns else None
    except _TurnError as error:
        place = 1 + error.place(turns)
        raise DataError(f"turn {place} of {len(turns)} {error}", column=column, row=row) from None


class _TurnError(ValueError):
    """What is wrong with a turn, which is the second argument."""

    def __init__(self, message: str, turn: Any) -> None:
        super().__init__(message)
        self._turn = turn

    def place(self, turns: list[Any]) -> int:
        return next(place for place, turn in enumerate(turns) if turn is self._turn)


def _turn(turn: Any) -> Turn:
    """Return one turn.

    Raises:
        _TurnError: If it is none.
    """
    if not isinstance(turn, Mapping):
        raise _TurnError(f'must be a mapping such as {{"role": "user", "content": "Hi"}}, got {shown(turn)}', turn)
    keys = ("role", "content") if "role" in turn else ("from", "value")
    for key in keys:
        if key not in turn:
            has = ", ".join(map(repr, turn)) or "nothing"
            raise _TurnError(f"must have 'role' and 'content', or 'from' and 'value'; it has {has}", turn)
    who, said = (turn[key] for key in keys)
    role = ROLES.get(who) if isinstance(who, str) else None
    if role is None:
        known = ", ".join(dict.fromkeys(ROLES.values()))
        raise _TurnError(f"has the {keys[0]} {shown(who)}; it must be one of {known}", turn)
    for key in ("tool_calls", "function_call"):
        if _holds(turn.get(key)):
            remedy = "which is not learned yet; write the call as text into content, or leave the row out"
            raise _TurnError(f"has {key}, {remedy}", turn)
    return Turn(role, _text(said, keys[1], turn), _is_learned(turn))


def _holds(value: Any) -> bool:
    return not is_missing(value) and (not hasattr(value, "__len__") or len(value) > 0)


def _text(said: Any, key: str, turn: Any) -> str:
    """Return the text of a content, which may be in parts."""
    if isinstance(said, str):
        return said
    parts = parts_of(said)
    if parts and all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts):
        return "".join(part["text"] for part in parts)
    raise _TurnError(f"must have a text as {key!r}, got {shown(said)}", turn)


def _is_learned(turn: Mapping[str, Any]) -> bool:
    """Return what a turn says of itself: ``weight`` 0 or 1, or ``train``."""
    weight, train = (_flag(turn.get(key)) for key in ("weight", "train" if "train" in turn else "training"))
    if weight not in (0, 1):
        raise _TurnError(f"has the weight {shown(weight)}; it must be 0 (not learned) or 1", turn)
    if train not in (0, 1):
        raise _TurnError(f"has train: {shown(train)}; it must be true or false", turn)
    return bool(weight) and bool(train)


def _flag(value: Any) -> Any:
    """Return a plain value, 1 for a missing one."""
    return 1 if is_missing(value) else value.tolist() if hasattr(value, "tolist") else value


def replies(column: pd.Series) -> pd.Series:
    """Return what the assistant says last in each conversation, None where another side does, ``object (rows,)``."""
    conversations = as_conversations(column)
    return conversations.map(lambda conversation: cast(Conversation, conversation).reply, na_action="ignore")
