"""What a person sees while a model trains: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from declarlm.core import DeclarlmWarning
from declarlm.core.terminal import console
from declarlm.training.workload import Evaluation

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 10.0  # between two plain lines


@dataclass(frozen=True)
class StepReport:
    """One optimizer step, as it is shown and logged.

    Attributes:
        step: Optimizer steps done.
        total: Optimizer steps in all.
        epoch: Passes over the rows, with a fraction.
        loss: Loss of the step.
        learning_rate: Highest learning rate among the parameter groups.
        gradient_norm: Length of the gradient before clipping.
        tokens_per_second: Speed since training began or was resumed, without evaluations.
        seconds_left: Estimated time to the last step, without evaluations.
        memory: Bytes: the most that tensors took on a GPU, or the present size of the process.
    """

    step: int
    total: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float
    seconds_left: float
    memory: int

    def __str__(self) -> str:
        return (
            f"step {self.step}/{self.total}  epoch {self.epoch:.2f}  loss {self.loss:.4f}  "
            f"lr {self.learning_rate:.2e}  {self.tokens_per_second:,.0f} tokens/s  "
            f"{duration(self.seconds_left)} left  {self.memory / 1e9:.1f} GB"
        )


class Progress(Protocol):
    """Where the trainer reports to."""

    def step(self, report: StepReport) -> None:
        """Show one optimizer step."""
        ...

    def evaluation(self, evaluation: Evaluation) -> None:
        """Show one evaluation."""
        ...

    def note(self, text: str) -> None:
        """Show a sentence that must not be missed."""
        ...

    def about(self, text: str) -> None:
        """Show a sentence on what is about to be trained."""
        ...

    def close(self) -> None:
        """Free the terminal; training may go on later."""
        ...


class Quiet:
    """Shows only what must not be missed."""

    def step(self, report: StepReport) -> None:
        pass

    def evaluation(self, evaluation: Evaluation) -> None:
        pass

    def note(self, text: str) -> None:
        console().print(text, style="yellow", soft_wrap=True)

    def about(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Silent(Quiet):
    """Shows nothing; what must not be missed is read from the run."""

    def note(self, text: str) -> None:
        pass


class Lines:
    """Shows a line now and then, for logs; in a terminal the last one is kept up to date."""

    def __init__(self, screen: Console | None = None) -> None:
        self._screen = screen or console()
        self._live: Any = None
        self._written_at = -LINE_SECONDS

    def step(self, report: StepReport) -> None:
        if self._screen.is_terminal:
            self._update(report)
        elif report.step == report.total or time.monotonic() - self._written_at >= LINE_SECONDS:
            self._written_at = time.monotonic()
            self._screen.print(str(report), soft_wrap=True)

    def evaluation(self, evaluation: Evaluation) -> None:
        best = "  best so far" if evaluation.is_best and evaluation.metrics else ""
        first: dict[str, tuple[str, float]] = {}  # of each output; the run directory has them all
        for name, value in evaluation.metrics.items():
            first.setdefault(name.rpartition(".")[0], (name, value))
        figures = "  ".join(f"{name} {value:.4f}" for name, value in first.values())
        text = f"epoch {evaluation.epoch:.2f}  training loss {evaluation.training_loss:.4f}  {figures}{best}"
        self._screen.print(text.rstrip(), style="bold" if best else None, soft_wrap=True)

    def note(self, text: str) -> None:
        self._screen.print(text, style="yellow", soft_wrap=True)

    def about(self, text: str) -> None:
        self._screen.print(text, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _update(self, report: StepReport) -> None:
        from rich.live import Live
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=self._screen, transient=True, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        line = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(total=report.total, completed=report.step, width=20)
        text = Text(str(report), no_wrap=True, overflow="ellipsis")
        line.add_row(*([bar, text] if self._screen.width >= len(text) + 22 else [text]))
        self._live.update(line, refresh=True)


def tell(remarks: Iterable[str], progress: Progress | None) -> None:
    """Show remarks where progress is shown; else warn of them, at the line that called this package."""
    level, package = 1, __name__.partition(".")[0]
    while sys._getframe(level).f_globals.get("__name__", "").partition(".")[0] == package:
        level += 1
    for remark in remarks:
        if progress is not None:
            progress.note(remark)
        else:
            warnings.warn(remark, DeclarlmWarning, stacklevel=level + 1)


def duration(seconds: float) -> str:
    """Return a time as a person reads it: ``45s``, ``3m20s``, ``2h05m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
