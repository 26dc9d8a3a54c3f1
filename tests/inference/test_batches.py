"""Cutting rows into batches."""

import numpy as np
import pytest
import torch

from declarlm.core.errors import OutOfMemoryError
from declarlm.inference.batches import in_batches, token_batches


def test_batches_hold_rows_of_similar_length_within_the_budget():
    batches = [rows.tolist() for rows in token_batches([3, 9, 4, 1, 30, 8], 20)]
    assert batches == [[4], [1, 5], [2, 0, 3]]


def test_every_row_is_in_one_batch():
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    batches = list(token_batches(lengths, 100))
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 100 for rows in batches)


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
