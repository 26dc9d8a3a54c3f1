"""What a person sees of a sweep while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from declarlm.core.terminal import console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from declarlm.hyperopt.sweep import Sweep
    from declarlm.hyperopt.trial import Trial

MOST_ROWS = 16


class Table:
    """Shows the trials as a table that is kept up to date; without a terminal, a line for each that has ended."""

    def __init__(self, screen: Console | None = None) -> None:
        self._screen = screen or console()
        self._live: Any = None
        self._told: set[int] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Show the table for the length of the block, and leave it there in the end."""
        from rich.live import Live

        if not self._screen.is_terminal:
            yield
            return
        with Live(console=self._screen, auto_refresh=False, redirect_stdout=False) as self._live:
            yield
        self._live = None

    def show(self, sweep: Sweep) -> None:
        """Show how the sweep stands."""
        if self._live is not None:
            self._live.update(self._table(sweep), refresh=True)
            return
        for trial in sweep.trials:
            if trial.state != "running" and trial.number not in self._told:
                self._told.add(trial.number)
                self._screen.print(_line(sweep, trial), soft_wrap=True, markup=False, highlight=False)

    def _table(self, sweep: Sweep) -> RichTable:
        from rich.table import Table as RichTable

        paths = list(sweep.section.parameters)
        done = sum(trial.state != "running" for trial in sweep.trials)
        title = f"{done} of {sweep.num_trials} trials, {sweep.rules.metric}"
        table = RichTable("trial", "state", "epoch", sweep.rules.metric, *paths, title=title, title_justify="left")
        shown = sweep.trials[-MOST_ROWS:]
        if sweep.best is not None and sweep.best not in shown:
            shown = [sweep.best, *shown[1:]]
        for trial in shown:
            last = trial.reports[-1] if trial.reports else None
            value = trial.value if trial.value is not None else last.value if last else None
            cells = [str(trial.number), trial.state, f"{last.epoch:.1f}" if last else "", written(value)]
            style = "bold" if trial is sweep.best else "dim" if trial.state in ("stopped", "failed") else None
            table.add_row(*cells, *(written(trial.values.get(path)) for path in paths), style=style)
        return table


def _line(sweep: Sweep, trial: Trial) -> str:
    values = "  ".join(f"{path} {written(value)}" for path, value in trial.values.items())
    best = "  best so far" if trial is sweep.best else ""
    found = f"{sweep.rules.metric} {written(trial.value)}" if trial.value is not None else ""
    why = f" ({trial.message.splitlines()[0]})" if trial.message else ""
    return "  ".join(part for part in (trial.name, trial.state + why, found, values) if part) + best


def written(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
