"""What a sweep leaves to read: whole, safe to open, and true."""

import math
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from declarlm.hyperopt.report import command, write_report
from declarlm.hyperopt.report.importance import importance
from declarlm.hyperopt.report.scales import Scale, scale_of
from declarlm.hyperopt.section import Hyperopt
from declarlm.hyperopt.spaces import Interval, Options
from declarlm.hyperopt.sweep import Rules, Sweep
from declarlm.hyperopt.trial import Report, Task

EVIL = "<script>alert(1)</script>"
PARAMETERS: dict[str, Any] = {
    "adapter.r": {"space": "choice", "categories": [2, 4, 8, 16]},
    "adapter.alpha": {"space": "ratio", "of": "adapter.r", "value": 2},
    "trainer.learning_rate": {"space": "loguniform", "lower": 1e-4, "upper": 1e-2},
    "adapter.dropout": {"space": "uniform", "lower": 0.0, "upper": 0.2},
    "prompt.task": {"space": "choice", "categories": ["Be brief.", EVIL]},
}


def launch(task: Task) -> Iterator[Report]:
    """Trials of which the learning rate decides most, the rank some, and the rest nothing."""
    values = task.values
    order = math.log10(values["trainer.learning_rate"])
    if order > -2.1:
        raise ArithmeticError(f"{EVIL} the loss was nan")
    best = 0.9 - 0.1 * (order + 3) ** 2 - 0.05 / values["adapter.r"]
    for number in range(1, 5):
        yield Report(number, number, 4, float(number), 0.0, best * (1 - 0.5**number))
    yield Report(5, 4, 4, 4.0, 0.0, best, is_final=True)


def swept(folder: Path, num_samples: int = 30, scheduler: str = "asha") -> Sweep:
    section = Hyperopt.load(
        {
            "metric": "intent.accuracy",
            "parameters": PARAMETERS,
            "executor": {"num_samples": num_samples, "scheduler": scheduler},
        }
    )
    spaces = section.build_spaces()

    def complete(sample: Mapping[str, Any]) -> dict[str, Any]:
        return {path: space.derive(sample) if space.follows else sample[path] for path, space in spaces.items()}

    folder.mkdir(exist_ok=True)
    sweep = Sweep(folder, section, Rules("intent.accuracy", 1, 5, complete, lambda _: []))
    section.executor.build().run(sweep, launch)
    return sweep


class Tags(HTMLParser):
    """The tags of a page, which must be closed in order, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in ("meta", "path", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "path":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_every_trial_and_runs_nothing(tmp_path):
    sweep = swept(tmp_path)
    write_report(sweep, lambda values: {"adapter": {"r": values["adapter.r"]}}, {"dataset": "train.csv"})
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Tags()
    page.feed(html)
    assert not page.open
    assert "script" not in page.seen
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "default-src 'none'" in html
    assert page.seen.count("svg") == 3 + 4  # ratio has no picture of its own
    assert page.seen.count("tr") == 31
    scored = [trial for trial in sweep.trials if trial.value is not None]
    assert page.seen.count("circle") == 5 * len(scored)
    assert f"ArithmeticError: {EVIL} the loss was nan" in page.text
    assert f"declarlm train -c {tmp_path}/best.yaml --dataset train.csv" in page.text
    assert "nan" not in re.sub(r"the loss was nan", "", html).lower().replace("finance", "")


def test_a_page_without_a_result_says_so(tmp_path):
    sweep = swept(tmp_path, 1)
    sweep.trials[0].value, sweep.trials[0].state = None, "failed"
    write_report(sweep, lambda _: {}, {"dataset": "train.csv"})
    assert "No trial has a result." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_importance_finds_what_decides(tmp_path):
    for scheduler in ("fifo", "asha"):
        found = importance(swept(tmp_path / scheduler, 40, scheduler))
        assert next(iter(found)) == "trainer.learning_rate"
        assert found["trainer.learning_rate"] > 0.5
        assert found["adapter.dropout"] < 0.2
        assert "adapter.alpha" not in found
        assert sum(found.values()) == pytest.approx(1.0)
    assert importance(swept(tmp_path / "few", 3)) == {}


def test_scales_place_values_and_write_round_numbers():
    assert [text for _, text in scale_of([0.0, 0.2]).ticks()] == ["0", "0.05", "0.1", "0.15", "0.2"]
    log = scale_of([1e-4], Interval(1e-4, 1e-1, log=True))
    assert [text for _, text in log.ticks()] == ["0.0001", "0.001", "0.01", "0.1"]
    assert log.place(1e-3) == pytest.approx(1 / 3)
    narrow = scale_of([1e-3], Interval(1e-3, 5e-3, log=True))
    assert [text for _, text in narrow.ticks()] == ["0.001", "0.002", "0.005"]
    names = scale_of([], Options([16, 2, 4]))
    assert [text for _, text in names.ticks()] == ["2", "4", "16"]
    assert names.place(4) == pytest.approx(0.5)
    assert scale_of([3.0, 3.0]).place(3.0) == 0.5
    assert scale_of([True, "1", 1]).names == ("true", '"1"', "1")
    assert Scale(0, 10).place(5) == 0.5


def test_the_command_names_the_rows_as_they_were_given():
    rows = {"dataset": "my rows.csv", "validation": "dev.csv", "test": None}
    assert command(Path("runs/x/best.yaml"), rows) == (
        "declarlm train -c runs/x/best.yaml --dataset 'my rows.csv' --validation dev.csv"
    )
