"""Near-copies agree in a band, others do not; clocks have one gap."""

import numpy as np

from m6rec.kernels.arrays.minhash import (
    are_dates,
    bands_of_sets,
    most_common_gap,
    rounding_of_times,
)
from m6rec.kernels.arrays.rows import Int64, indptr_of


def joined(sets: list[list[int]]) -> tuple[Int64, Int64]:
    return indptr_of([len(one) for one in sets]), np.array([i for one in sets for i in one])


def agree(one: list[int], other: list[int]) -> bool:
    first, second = bands_of_sets(*joined([one, other]))
    return bool((first == second).any())


def test_equal_sets_agree_in_all_bands_whatever_the_order() -> None:
    first, second = bands_of_sets(*joined([[5, 900, -7], [-7, 5, 900]]))
    assert first.tolist() == second.tolist()
    assert len(set(first.tolist())) == len(first)


def test_near_copies_agree_and_strangers_do_not() -> None:
    rng = np.random.default_rng(1)
    alike, apart = 0, 0
    for _ in range(50):
        items = rng.choice(10**9, 110, replace=False).tolist()
        # Likeness 90 / 110 = .82, and 20 / 110 = .18.
        alike += agree(items[:100], items[10:])
        apart += agree(items[:65], items[45:])
    assert alike == 50
    assert apart < 5


def test_times_that_lie_whole_days_apart_are_dates() -> None:
    day, hour = 86_400, 3_600
    times = [[7, 7 + day, 7 + 3 * day], [0, day - hour, 2 * day - hour], [0, day, day + 60], [5]]
    assert are_dates(*joined(times)).tolist() == [True, True, False, True]
    assert are_dates(*joined([list(range(0, day, hour))])).tolist() == [False]


def test_the_most_common_gap_is_a_share_of_all_gaps_between_different_times() -> None:
    times = [[0, 5, 10, 15, 18], [7, 7, 7], [], [30, 20, 10, 0]]
    shares, gaps, length = most_common_gap(*joined(times))
    assert shares.tolist() == [0.75, 0.0, 0.0, 1.0]
    assert gaps.tolist() == [4, 0, 0, 3]
    assert length.tolist() == [5, 0, 0, 10]


def test_times_may_be_rounded_to_the_unit_that_divides_their_gaps() -> None:
    times = [[7, 7 + 3_600, 7 + 5 * 3_600], [0, 60, 180], [0, 600, 1_800], [0, 61], [5], []]
    assert rounding_of_times(*joined(times)).tolist() == [3_600, 60, 600, 1, 3_600, 3_600]
