import numpy as np
import pytest

from m6rec.kernels.arrays.recency import later_counts, recency_ranks, recent_weights
from m6rec.kernels.arrays.rows import UNKNOWN_TIME


def test_the_latest_interaction_of_each_row_has_rank_zero() -> None:
    ranks = recency_ranks(np.array([0, 3, 3, 5]), np.array([10, 30, 20, 2, 1]))
    assert ranks.tolist() == [2.0, 0.0, 1.0, 0.0, 1.0]


def test_interactions_at_the_same_time_share_their_mean_rank() -> None:
    ranks = recency_ranks(np.array([0, 4]), np.array([5, 9, 5, 5]))
    assert ranks.tolist() == [2.0, 0.0, 2.0, 2.0]


def test_the_latest_time_has_rank_zero_however_many_share_it() -> None:
    times = np.array([5, 9, 9, 9, 7, 7, *[3] * 400])
    ranks = recency_ranks(np.array([0, 6, 406]), times)
    assert ranks[:6].tolist() == [4.0, 0.0, 0.0, 0.0, 2.5, 2.5]
    assert recent_weights(ranks[6:], 2.0).tolist() == [1.0] * 400


def test_what_is_later_is_counted_without_what_is_at_the_same_time() -> None:
    counts = later_counts(np.array([0, 4, 4, 6]), np.array([5, 9, 5, 7, UNKNOWN_TIME, 1]))
    assert counts.tolist() == [2, 0, 2, 1, 1, 0]


def test_an_unknown_time_is_the_oldest() -> None:
    assert recency_ranks(np.array([0, 2]), np.array([UNKNOWN_TIME, -5])).tolist() == [1.0, 0.0]


def test_a_weight_falls_to_one_over_e_after_the_scale() -> None:
    weights = recent_weights(np.array([0.0, 10.0], dtype=np.float32), 10.0)
    assert weights.tolist() == pytest.approx([1.0, np.exp(-1.0)])
