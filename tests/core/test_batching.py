"""Cutting rows into batches of similar length."""

import numpy as np
import pytest

from declarlm.core.batching import by_length


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
