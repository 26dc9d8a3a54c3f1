"""What training tells a person and remembers: each step and evaluation, in the right dose."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from declarlm.training.config import Steps
from declarlm.training.precision import memory_in_use
from declarlm.training.progress import Progress, StepReport
from declarlm.training.tracking import Track, Untracked
from declarlm.training.workload import Evaluation

if TYPE_CHECKING:
    import torch

SHOW_SECONDS = 0.1  # between two steps that are shown
NUM_LINES = 200  # steps that are logged in all


class Reporter:
    """Passes steps and evaluations on to the progress line and to the run's metrics.

    Attributes:
        progress: What a person sees.
        track: What the run remembers.
    """

    def __init__(self, track: Track | Untracked, progress: Progress, *, steps: Steps, device: torch.device) -> None:
        self.progress, self.track = progress, track
        self._total, self._per_epoch, self._device = steps.total, steps.per_epoch, device
        self._interval = max(1, steps.total // NUM_LINES)
        self._shown_at = 0.0
        self._seconds, self._tokens, self._steps = 0.0, 0, 0

    def step(self, step: int, loss: float, norm: float, *, learning_rate: float, tokens: int, seconds: float) -> None:
        """Report that ``step`` steps are done, the last one with this loss, in this time."""
        self._seconds, self._tokens, self._steps = self._seconds + seconds, self._tokens + tokens, self._steps + 1
        is_logged = step % self._interval == 0 or step == self._total
        now = time.monotonic()
        if not is_logged and now - self._shown_at < SHOW_SECONDS:
            return
        self._shown_at = now
        report = StepReport(
            step=step,
            total=self._total,
            epoch=step / self._per_epoch,
            loss=loss,
            learning_rate=learning_rate,
            gradient_norm=norm,
            tokens_per_second=self._tokens / self._seconds,
            seconds_left=(self._total - step) * self._seconds / self._steps,
            memory=memory_in_use(self._device),
        )
        self.progress.step(report)
        if is_logged:
            self.track.step(report)

    def skipped(self, step: int, what: str) -> None:
        """Report that the update of a step was skipped."""
        self.track.skipped(step, step / self._per_epoch, what)
        self.progress.note(f"step {step}: {what}, the update was skipped")

    def evaluation(self, evaluation: Evaluation) -> None:
        """Report an evaluation."""
        self.track.evaluation(evaluation)
        self.progress.evaluation(evaluation)

    def pause(self) -> None:
        """Free the terminal."""
        self.progress.close()
