"""Histories in the order of their times."""

import numpy as np
import numpy.testing as npt

from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Rows
from m6rec.kernels.arrays.sequences import GAP_BINS, gap_bins, last_items

SECOND = 1_000_000
MINUTE, DAY, YEAR = 60 * SECOND, 86_400 * SECOND, 365 * 86_400 * SECOND


def rows_of(*histories: list[int]) -> Rows:
    counts = [len(history) for history in histories]
    items = np.array([item for history in histories for item in history], np.int32)
    return Rows(
        np.arange(len(histories)), np.cumsum([0, *counts]), items, np.ones(len(items), np.float32)
    )


def test_the_latest_items_come_last_whatever_the_order_of_the_row() -> None:
    rows = rows_of([1, 4, 7], [], [2])
    found = last_items(rows, np.array([30, 10, 20, 5]), 2)
    npt.assert_array_equal(found.items, [[7, 1], [-1, -1], [-1, 2]])


def test_items_at_one_time_go_by_index_and_those_without_a_time_are_the_oldest() -> None:
    rows = rows_of([1, 4, 7])
    found = last_items(rows, np.array([20, UNKNOWN_TIME, 20]), 5)
    npt.assert_array_equal(found.items, [[4, 1, 7]])
    npt.assert_array_equal(found.gaps, [[0, 0, 1]])


def test_a_gap_belongs_to_the_later_item_and_grows_with_the_time() -> None:
    rows = rows_of([0, 1, 2, 3, 4], [5, 6])
    times = np.array([0, SECOND, MINUTE + SECOND, 5 * MINUTE + SECOND, DAY, 0, 100 * YEAR])
    npt.assert_array_equal(gap_bins(rows, times), [0, 1, 2, 3, 7, 0, GAP_BINS - 1])


def test_the_gap_before_a_cut_history_is_that_to_the_item_that_was_cut() -> None:
    found = last_items(rows_of([0, 1, 2]), np.array([0, DAY, 2 * DAY]), 2)
    npt.assert_array_equal(found.gaps, [[7, 7]])


def test_no_history_at_all_gives_sequences_of_no_width() -> None:
    assert last_items(rows_of([], []), np.empty(0, np.int64), 3).items.shape == (2, 0)
