"""Trials one after another, in this process."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from declarlm.core import DeclarlmError, Problem
from declarlm.hyperopt.executors.base import Executor, executors, why_stopped

if TYPE_CHECKING:
    from declarlm.hyperopt.sweep import Sweep
    from declarlm.hyperopt.trial import Launch, Trial

INTERRUPTED = 130


@executors.register("inline")
class Inline(Executor):
    """Run one trial after another in this process, without Ray."""

    class Config(Executor.Config):
        def check(self) -> Iterable[Problem]:
            if self.max_concurrent_trials not in (1, "auto"):
                found = f"must be 1 for executor inline, got {self.max_concurrent_trials}; write type: ray"
                yield Problem("max_concurrent_trials", found)

    def run(self, sweep: Sweep, launch: Launch) -> None:
        while (trial := sweep.next()) is not None:
            self._run(sweep, trial, launch)

    def _run(self, sweep: Sweep, trial: Trial, launch: Launch) -> None:
        try:
            with closing(launch(sweep.task(trial))) as reports:  # type: ignore[type-var]
                for report in reports:
                    if not sweep.judge(trial, report):
                        break
        except DeclarlmError as error:
            if error.exit_code == INTERRUPTED:
                raise
            sweep.end(trial, "failed", message=str(error))
        except Exception as error:  # noqa: BLE001  # whatever a plugin raises, the other trials go on
            sweep.end(trial, "failed", message=f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        else:
            if trial.state == "running":
                sweep.end(trial, "stopped", message=why_stopped(sweep))
