"""Which of each user's pairs are held out, and which of them a fit knows."""

import numpy as np
import pytest

from m6rec.kernels.evaluation.holdout import HeldOutQuota, first_of_rows, known_in

TRAIN, VALIDATION, TEST = range(3)


@pytest.mark.parametrize(
    ("quota", "held"),
    [
        (HeldOutQuota(0.3), [0, 0, 1, 1, 3]),
        (HeldOutQuota(0.3, items=2), [0, 0, 1, 2, 2]),
        (HeldOutQuota(0.0), [0, 0, 0, 0, 0]),
        (HeldOutQuota(0.0, items=1), [0, 0, 1, 1, 1]),
        (HeldOutQuota(1.0), [0, 0, 1, 2, 9]),
    ],
)
def test_a_quota_holds_out_its_share_or_number_and_leaves_one(
    quota: HeldOutQuota, held: list[int]
) -> None:
    assert quota.of(np.array([0, 1, 2, 3, 10])).tolist() == held


def test_the_first_eligible_entries_of_each_row_are_held_out_and_ties_go_by_the_second_order() -> (
    None
):
    rows = np.array([0, 0, 0, 0, 2, 2, 2])
    eligible = np.array([True, False, True, True, True, True, True])
    order = np.array([5, 0, 1, 2, 7, 7, 7])
    ties = np.array([0, 0, 0, 0, 3, 1, 2])
    held = first_of_rows(rows, eligible, order, ties, 3, HeldOutQuota(0.7))
    assert np.flatnonzero(held).tolist() == [2, 3, 5, 6]


def test_no_entry_is_held_out_of_rows_without_eligible_ones() -> None:
    nothing = np.zeros(0, np.int64)
    assert (
        first_of_rows(nothing, nothing == 1, nothing, nothing, 4, HeldOutQuota(0.5)).tolist() == []
    )


def test_a_fit_knows_the_latest_of_its_own_folds_of_a_pair() -> None:
    rows = np.array([0, 0, 0, 0, 1, 1])
    items = np.array([4, 4, 4, 5, 5, 5])
    folds = np.array([TRAIN, VALIDATION, TEST, TRAIN, TRAIN, TEST])
    assert known_in(rows, items, folds, (TRAIN,)).tolist() == [1, 0, 0, 1, 1, 0]
    assert known_in(rows, items, folds, (TRAIN, VALIDATION)).tolist() == [0, 1, 0, 1, 1, 0]
