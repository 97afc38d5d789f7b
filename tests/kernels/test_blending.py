import numpy as np
import pytest

from m6rec.kernels.blending import Blend, Candidates, choose_weights, mean_ndcg


def two_members() -> Candidates:
    """Two users with three candidates; member 0 is right for the first, member 1 for both."""
    return Candidates(
        offsets=np.array([0, 3, 6]),
        scores=np.array(
            [[3, 3], [2, 2], [1, 1], [1, 3], [2, 2], [3, 1]],
            dtype=np.float32,
        ),
        relevant=np.array([True, False, False, True, False, False]),
        relevant_counts=np.array([1, 1]),
    )


def test_ndcg_of_a_known_ranking() -> None:
    worst_for_the_second = (1.0 + 1.0 / np.log2(4.0)) / 2.0
    assert mean_ndcg(two_members(), np.array([1.0, 0.0]), 3) == pytest.approx(worst_for_the_second)
    assert mean_ndcg(two_members(), np.array([0.0, 1.0]), 3) == pytest.approx(1.0)


def test_the_ideal_counts_held_out_items_that_are_no_candidates() -> None:
    one = Candidates(np.array([0, 1]), np.ones((1, 1), np.float32), np.array([True]), np.array([2]))
    assert mean_ndcg(one, np.array([1.0]), 2) == pytest.approx(1.0 / (1.0 + 1.0 / np.log2(3.0)))


def test_a_member_that_adds_nothing_keeps_weight_zero() -> None:
    weights, ndcg = choose_weights(two_members(), k=3, rounds=3)
    assert weights.tolist() == [0.0, 1.0]
    assert ndcg == pytest.approx(1.0)


def test_members_that_complement_each_other_are_both_kept() -> None:
    candidates = Candidates(
        offsets=np.array([0, 3, 6]),
        scores=np.array(
            [[9, 5], [0, 6], [1, 0], [5, 9], [6, 0], [0, 1]],
            dtype=np.float32,
        ),
        relevant=np.array([True, False, False, True, False, False]),
        relevant_counts=np.array([1, 1]),
    )
    weights, ndcg = choose_weights(candidates, k=3, rounds=3)
    assert (weights > 0).all()
    assert ndcg == pytest.approx(1.0)


def test_coefficients_leave_out_members_without_weight() -> None:
    blend = Blend("hybrid", ("a", "b"), (1.0, 0.0), (2.0, 3.0))
    assert blend.coefficients() == {"a": 0.5}
