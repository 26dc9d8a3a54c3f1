import io

import pytest
from rich.console import Console

from declarlm.training.progress import Lines, StepReport, duration
from declarlm.training.workload import Evaluation


def report(step: int) -> StepReport:
    return StepReport(
        step=step,
        total=300,
        epoch=step / 100,
        loss=1.23456,
        learning_rate=1e-4,
        gradient_norm=0.5,
        tokens_per_second=12345.6,
        seconds_left=200.4,
        memory=1_234_567_890,
    )


EVALUATION = Evaluation(
    step=100, total=300, epoch=1.0, training_loss=1.2, metrics={"intent.accuracy": 0.9}, is_best=True, seconds=3.0
)
TEXT = "step 1/300  epoch 0.01  loss 1.2346  lr 1.00e-04  12,346 tokens/s  3m20s left  1.2 GB"


def shown(screen: Console) -> str:
    lines = Lines(screen)
    for step in (1, 2, 300):
        lines.step(report(step))
    lines.evaluation(EVALUATION)
    lines.note("step 3: the loss was nan, the update was skipped")
    lines.close()
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_without_a_terminal_a_line_is_written_now_and_then():
    text = shown(Console(file=io.StringIO(), width=40, markup=False, highlight=False))
    assert text.splitlines() == [
        TEXT,
        TEXT.replace("step 1/", "step 300/").replace("0.01", "3.00"),
        "epoch 1.00  training loss 1.2000  intent.accuracy 0.9000  best so far",
        "step 3: the loss was nan, the update was skipped",
    ]


@pytest.mark.parametrize("width", [60, 140])
def test_in_a_terminal_one_line_is_kept_up_to_date(width: int):
    text = shown(Console(file=io.StringIO(), width=width, force_terminal=True, markup=False, highlight=False))
    assert text.count("\n") == 3  # the evaluation, the note, and the end of the live line
    assert ("━" in text) == (width == 140)
    assert "step 2/300  epoch 0.02" in text


def test_times_read_as_a_person_says_them():
    assert [duration(seconds) for seconds in (0.4, 59.4, 60, 200, 3600, 7500)] == [
        *("0s", "59s", "1m00s", "3m20s", "1h00m", "2h05m")
    ]
