"""How much work and text one rendering of a template may take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MAX_SOURCE = 64_000
MAX_STEPS = 200_000
MAX_TEXT = 4_000_000


class LimitError(Exception):
    """A template would run too long or make too much text, or does what no prompt needs."""


@dataclass
class Budget:
    """What is left to a rendering.

    Attributes:
        steps: Loop turns, calls, and thousands of characters handled.
        text: Characters that any one string may have.
    """

    steps: int = MAX_STEPS
    text: int = MAX_TEXT


_current: ContextVar[Budget] = ContextVar("budget")


@contextmanager
def budget(given_text: int = 0) -> Iterator[None]:
    """Give the code inside a fresh budget, with room to write ``given_text`` characters of cells a few times."""
    token = _current.set(Budget(text=MAX_TEXT + 4 * given_text))
    try:
        yield
    finally:
        _current.reset(token)


def spend(steps: int) -> None:
    """Use up steps of the current budget; outside of a template nothing is counted.

    Raises:
        LimitError: If none are left.
    """
    current = _current.get(None)
    if current is None:
        return
    current.steps -= steps
    if current.steps < 0:
        raise LimitError(f"runs for more than {MAX_STEPS:,} steps")


def ensure_fits(size: int) -> None:
    """Refuse a string of more than the characters allowed, before it is made.

    Raises:
        LimitError: If ``size`` is too large.
    """
    current = _current.get(None)
    if current is not None and size > current.text:
        raise LimitError(f"makes more than {current.text:,} characters")
