"""The events for TensorBoard, read as its format says."""

import struct
from pathlib import Path

from small_run import make_trainer
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from declarlm.core.files import read_json_lines


def read_events(path: Path) -> list[Event]:
    """Read records of length, checksum, bytes, checksum."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        checks = data[8:12] + data[12 + length : 16 + length]
        assert checks == struct.pack("<II", masked_crc32c(data[:8]), masked_crc32c(body))
        events.append(Event.FromString(body))
        data = data[16 + length :]
    return events


def test_events_are_the_metrics_to_the_last_one(tmp_path: Path):
    list(make_trainer(tmp_path, {"epochs": 2}, evaluate=lambda: {"loss": 0.5, "undefined": float("nan")}).fit())
    (path,) = (tmp_path / "events").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    first, *events = read_events(path)
    assert first.file_version == "brain.Event:2"
    found = {(event.step, value.tag): value.simple_value for event in events for value in event.summary.value}
    lines = [line for line in read_json_lines(tmp_path / "metrics.jsonl") if line["kind"] == "step"]
    losses = {step: loss for (step, tag), loss in found.items() if tag == "training/loss"}
    assert {step: round(loss, 4) for step, loss in losses.items()} == {
        line["step"]: round(line["loss"], 4) for line in lines
    }
    assert (10, "evaluation/loss") in found
    assert not any("undefined" in tag for _, tag in found)


def test_a_resumed_run_takes_back_the_steps_that_a_crash_lost(tmp_path: Path):
    fit = make_trainer(tmp_path, {"epochs": 2}).fit()
    next(fit)
    fit.close()
    list(make_trainer(tmp_path, {"epochs": 2}).fit(resume=True))
    _, second = sorted((tmp_path / "events").iterdir())
    assert [event.step for event in read_events(second) if event.session_log.status] == [6]
