"""Ctrl-C and SIGTERM while a model trains."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from declarlm.core import RunError


class StoppedError(RunError):
    """A person or the system asked training to stop; a checkpoint was written."""

    exit_code = 130


class Interrupts:
    """Turns both signals into ``KeyboardInterrupt``, but never in the middle of an update."""

    def __init__(self) -> None:
        self._is_held = False
        self._is_pending = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals for the length of the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put a signal off to the end of the block."""
        was_held, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = was_held
        if self._is_pending and not was_held:
            self._is_pending = False
            raise KeyboardInterrupt

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Let no signal end the block: it is what the first one asked for."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = self._is_pending = False

    def _handle(self, number: int, frame: Any) -> None:
        if not self._is_held:
            raise KeyboardInterrupt
        self._is_pending = True
