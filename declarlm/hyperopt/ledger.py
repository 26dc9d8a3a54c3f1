"""The ledger: all that happened in a sweep, a line for each event, from which the sweep can be told its past again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from declarlm.core import RunError
from declarlm.core.files import append_json_line, read_json_lines
from declarlm.hyperopt.schedulers.base import Move
from declarlm.hyperopt.trial import Report, Trial, TrialState


class Ledger:
    """``ledger.jsonl`` of a sweep's folder.

    A line is written before what it tells has any consequence. What a crash cuts off is at worst the last line.

    Attributes:
        path: The file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.jsonl"

    def asked(self, trial: Trial) -> None:
        """Write that a trial begins."""
        append_json_line(self.path, {"event": "trial", "number": trial.number, "values": trial.values})

    def reported(self, trial: Trial, report: Report, *, goes_on: bool) -> None:
        """Write what a trial reported, and whether it goes on."""
        line = {"event": "report", "number": trial.number, **asdict(report), "goes_on": goes_on}
        append_json_line(self.path, line)

    def evolved(self, moves: list[Move]) -> None:
        """Write how the next generation begins."""
        append_json_line(self.path, {"event": "generation", "moves": [asdict(move) for move in moves]})

    def ended(self, trial: Trial) -> None:
        """Write how a trial ended."""
        end = {"state": trial.state, "value": trial.value, "seconds": trial.seconds, "message": trial.message}
        append_json_line(self.path, {"event": "end", "number": trial.number, **end})

    def replay(
        self,
        *,
        asked: Callable[[int, dict[str, Any]], object],
        reported: Callable[[int, Report, bool], object],
        ended: Callable[[int, TrialState, float | None, float, str], object],
        evolved: Callable[[list[Move]], object],
    ) -> None:
        """Tell each event again, in order.

        Raises:
            RunError: If a line is damaged.
        """
        for line in read_json_lines(self.path):
            try:
                self._tell(line, asked, reported, ended, evolved)
            except (KeyError, TypeError) as error:
                raise RunError(f"{self.path} is damaged: a line lacks or has too much: {error}") from None

    @staticmethod
    def _tell(line: Mapping[str, Any], asked: Any, reported: Any, ended: Any, evolved: Any) -> None:
        match line["event"]:
            case "trial":
                asked(line["number"], line["values"])
            case "report":
                fields = {
                    key: line[key] for key in ("evaluation", "step", "total", "epoch", "seconds", "is_final", "pauses")
                }
                value = float("nan") if line["value"] is None else line["value"]
                reported(line["number"], Report(value=value, **fields), line["goes_on"])
            case "generation":
                evolved([Move(**move) for move in line["moves"]])
            case "end":
                ended(line["number"], line["state"], line["value"], line["seconds"], line["message"])
