"""Answers that must be of a form: which tokens may come next."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from declarlm.core import ModelError

if TYPE_CHECKING:
    import numpy as np

_PART = re.compile(r" ?-?[0-9]*\.?[0-9]*", re.ASCII)
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_START, _BLANK, _SIGN, _WHOLE, _POINT, _FRACTION, _END = range(7)
_COMPLETE = (_WHOLE, _FRACTION)
_STEPS: Mapping[int | None, Mapping[str, int]] = {
    _START: {" ": _BLANK, "-": _SIGN, "0": _WHOLE},
    _BLANK: {"-": _SIGN, "0": _WHOLE},
    _SIGN: {"0": _WHOLE},
    _WHOLE: {"0": _WHOLE, ".": _POINT},
    _POINT: {"0": _FRACTION},
    _FRACTION: {"0": _FRACTION},
}


class Constraint(Protocol):
    """A language of answers, as states between which tokens lead. ``follow`` may change the state that it is given."""

    def start(self) -> Any:
        """Return the state before the first token."""
        ...

    def follow(self, state: Any, token: int) -> Any:
        """Return the state after ``token``, which ``allowed`` allowed."""
        ...

    def allowed(self, state: Any, remaining: int) -> np.ndarray[Any, Any]:
        """Return which tokens may come next, bool ``(vocab,)``, when ``remaining`` tokens may still be written."""
        ...


class NumberConstraint:
    """Allows ``-?digits`` and ``-?digits.digits``, with a space before if the tokens have one, then a stop token."""

    def __init__(self, texts: Mapping[int, str], stop_ids: Collection[int]) -> None:
        import numpy as np

        self._moves = {state: _moves(state, texts) for state in range(_END)}
        vocab_size = max([*texts, *stop_ids], default=-1) + 1
        self._allowed = np.zeros((2, _END + 1, vocab_size), dtype=bool)  # (is last, state, token)
        for state, moves in self._moves.items():
            for token, following in moves.items():
                self._allowed[:, state, token] = (True, following in _COMPLETE)
        for state in (*_COMPLETE, _END):
            self._allowed[:, state, list(stop_ids)] = True

    def start(self) -> int:
        return _START

    def follow(self, state: int, token: int) -> int:
        return self._moves.get(state, {}).get(token, _END)

    def allowed(self, state: int, remaining: int) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self._allowed[int(remaining <= 1), state]
        return found


def number_constraint(tokenizer: Any, stop_ids: Collection[int]) -> NumberConstraint:
    """Return the constraint under which a number is written in the tokens of ``tokenizer``.

    Raises:
        ModelError: If a digit is not among the tokens.
    """
    added = set(tokenizer.added_tokens_decoder)
    readable = {token: _text(piece) for piece, token in tokenizer.get_vocab().items() if token not in added}
    texts = {token: text for token, text in readable.items() if text and _PART.fullmatch(text)}
    missing = sorted(set("0123456789") - set(texts.values()))
    if missing:
        raise ModelError(
            f"the tokenizer has no token for {', '.join(missing)}, so it cannot write numbers; "
            "choose another base model, or a text output"
        )
    return NumberConstraint(texts, stop_ids)


def _text(piece: str) -> str:
    """Return what a vocabulary entry stands for: a space is marked, and a byte may be spelled out."""
    if byte := _BYTE.fullmatch(piece):
        return chr(int(byte[1], 16))
    return piece.replace("\u0120", " ").replace("\u2581", " ")


def _moves(state: int, texts: Mapping[int, str]) -> dict[int, int]:
    """Return the state that each token leads to, without those that lead nowhere."""
    reached = {token: _read(state, text) for token, text in texts.items()}
    return {token: following for token, following in reached.items() if following is not None}


def _read(state: int, text: str) -> int | None:
    """Return the state after the characters of ``text``, ``None`` if they cannot stand there."""
    following: int | None = state
    for sign in text:
        following = _STEPS.get(following, {}).get("0" if sign.isdigit() else sign)
    return following
