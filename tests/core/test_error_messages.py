"""What a person reads, and what the shell gets."""

import pytest

from declarlm.core import (
    ConfigError,
    DataError,
    DeclarlmError,
    DiskError,
    DivergedError,
    LockedError,
    ModelError,
    OutOfMemoryError,
    Problem,
    RefusedError,
    RunError,
)
from declarlm.core.document import Document
from declarlm.core.errors import choose_from


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeclarlmError, 1),
        (RunError, 1),
        (ConfigError, 2),
        (ModelError, 2),
        (DataError, 3),
        (DivergedError, 4),
        (OutOfMemoryError, 5),
        (DiskError, 6),
        (LockedError, 7),
        (RefusedError, 8),
    ],
)
def test_every_error_has_its_exit_code(error, code):
    assert error.exit_code == code
    assert issubclass(error, DeclarlmError)


def test_data_error_starts_with_its_place():
    error = DataError("'n/a' is not a number", column="age", row=17)
    assert str(error) == "column 'age', row 17: 'n/a' is not a number"
    assert (error.column, error.row) == ("age", 17)
    assert str(DataError("has no rows")) == "has no rows"


def test_one_problem_is_one_line():
    error = ConfigError("a.yaml", [Problem("adapter.r", "must be at least 1, got 0", 4), Problem("", "is empty")])
    assert str(error) == "a.yaml:4: adapter.r: must be at least 1, got 0\na.yaml: is empty"


def test_problems_come_in_the_order_of_the_file_with_the_line_of_the_nearest_parent():
    document = Document({}, "a.yaml", lines={"": 1, "trainer": 3, "adapter": 7, "adapter.r": 8})
    error = ConfigError(
        document, [Problem("adapter.alpha", "b"), Problem("trainer.epochs[0].x", "a"), Problem("x", "c")]
    )
    assert str(error) == "a.yaml:1: x: c\na.yaml:3: trainer.epochs[0].x: a\na.yaml:7: adapter.alpha: b"
    assert [problem.line for problem in error.problems] == [1, 3, 7]


def test_problem_of_a_moved_value_has_the_line_where_it_was_written():
    document = Document({}, "a.yaml", lines={"": 1, "training": 2, "training.epochs": 3}, moved={"trainer": "training"})
    error = ConfigError(document, [Problem("trainer.epochs", "a"), Problem("trainer.x", "b")])
    assert str(error) == "a.yaml:2: trainer.x: b\na.yaml:3: trainer.epochs: a"


def test_nearest_name_is_offered_only_if_there_is_one():
    assert choose_from("relo", ["relu", "gelu"]) == "'relo' (did you mean 'relu'?), choose from: gelu, relu"
    assert choose_from("x", ["relu"]) == "'x', choose from: relu"
