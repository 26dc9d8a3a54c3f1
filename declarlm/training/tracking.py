"""What a run remembers of its training: ``metrics.jsonl`` and, where tensorboardX is installed, events."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from declarlm.core.files import append_json_line, read_json_lines, write_text
from declarlm.training.progress import StepReport
from declarlm.training.workload import Evaluation

STEP_VALUES = ("loss", "learning_rate", "gradient_norm", "tokens_per_second")


class Track:
    """The metrics of one run, over all its sessions.

    A line is ``{"kind": "step" | "evaluation" | "skipped", "step": ..., "epoch": ..., ...}``.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "metrics.jsonl"
        self._events: Path | None = None

    def open(self, step: int) -> None:
        """Go on after ``step`` optimizer steps, without the lines of later steps that a crash took back."""
        lines = [line for line in read_json_lines(self.path) if line["step"] <= step]
        write_text(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        if find_spec("tensorboardX"):
            from tensorboardX.proto.event_pb2 import Event, SessionLog

            # Written here, as SummaryWriter names files after the machine and loses the last events of its thread.
            self._events = self.path.with_name("events") / f"events.out.tfevents.{time.time_ns()}"
            self._events.parent.mkdir(exist_ok=True)
            _append(self._events, Event(wall_time=time.time(), file_version="brain.Event:2"))
            if step:
                _append(self._events, Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def step(self, report: StepReport) -> None:
        """Log one optimizer step."""
        values = {name: getattr(report, name) for name in STEP_VALUES}
        append_json_line(self.path, {"kind": "step", "step": report.step, "epoch": report.epoch, **values})
        self._add_events("training", report.step, values)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Log one evaluation."""
        append_json_line(self.path, {"kind": "evaluation", **asdict(evaluation)})
        self._add_events("evaluation", evaluation.step, evaluation.metrics)

    def skipped(self, step: int, epoch: float, what: str) -> None:
        """Log a step whose update was skipped, and why."""
        append_json_line(self.path, {"kind": "skipped", "step": step, "epoch": epoch, "reason": what})

    def _add_events(self, group: str, step: int, values: Mapping[str, float]) -> None:
        if self._events is None:
            return
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        finite = {f"{group}/{name}": value for name, value in values.items() if math.isfinite(value)}
        if finite:
            shown = [Summary.Value(tag=tag, simple_value=value) for tag, value in finite.items()]
            _append(self._events, Event(wall_time=time.time(), step=step, summary=Summary(value=shown)))


class Untracked:
    """The metrics of a process that another one writes for."""

    def open(self, step: int) -> None:
        pass

    def step(self, report: StepReport) -> None:
        pass

    def evaluation(self, evaluation: Evaluation) -> None:
        pass

    def skipped(self, step: int, epoch: float, what: str) -> None:
        pass


def _append(path: Path, event: Any) -> None:
    """Write one record: its length and its bytes, each with a checksum."""
    from tensorboardX.record_writer import masked_crc32c

    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    with path.open("ab") as file:
        file.write(length + sums[0] + data + sums[1])
