"""Cutting rows into batches of similar length."""

import numpy as np
import pytest
import torch

from declarlm.core.batching import by_length, in_batches
from declarlm.core.errors import OutOfMemoryError


def batches(lengths, budget, worth=None):
    return [batch.tolist() for batch in by_length(lengths, budget, worth=worth)]


def test_batches_hold_rows_of_similar_length_within_the_budget():
    assert batches([3, 9, 4, 1, 30, 8], 20) == [[4], [1, 5], [2, 0, 3]]


@pytest.mark.parametrize("worth", [None, 1, 40])
def test_every_row_is_in_one_batch(worth):
    lengths = np.random.default_rng(0).integers(1, 50, 200)
    found = list(by_length(lengths, 100, worth=worth))
    assert sorted(np.concatenate(found).tolist()) == list(range(200))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 100 for rows in found)


def test_a_batch_is_cut_where_that_saves_enough_padding():
    lengths = [50, 10, 10, 10, 9, 2]
    assert batches(lengths, 1000, worth=200) == [[0], [1, 2, 3, 4, 5]]  # 40 tokens saved in each of 5 rows
    assert batches(lengths, 1000, worth=201) == [[0, 1, 2, 3, 4, 5]]
    assert batches(lengths, 1000, worth=8) == [[0], [1, 2, 3, 4], [5]]


def test_rows_of_one_length_stay_together():
    assert batches([7] * 5, 1000, worth=1) == [[0, 1, 2, 3, 4]]


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


def test_a_batch_has_no_more_rows_than_allowed():
    assert [len(batch) for batch in by_length([1] * 7, 100, max_rows=3)] == [3, 3, 1]
