"""Batches that do not fit into memory."""

import pytest
import torch

from declarlm.core.errors import OutOfMemoryError
from declarlm.inference.batches import in_batches


def test_a_batch_that_does_not_fit_is_halved():
    done = []

    def run(rows):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("too large")
        done.append(rows.tolist())

    in_batches([1, 1, 1, 1, 1], torch.device("cpu"), run)
    assert done == [[0, 1], [2], [3, 4]]


def test_a_row_that_does_not_fit_alone_is_an_error():
    def run(rows):
        raise torch.OutOfMemoryError("too large")

    with pytest.raises(OutOfMemoryError) as error:
        in_batches([7], torch.device("cpu"), run)
    assert str(error.value) == (
        "a single row of 7 tokens does not fit into the memory of cpu; shorten the rows or quantize the base model"
    )
