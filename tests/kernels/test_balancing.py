import numpy as np
import pytest

from m6rec.kernels.ranking.balancing import (
    balance_by_evidence,
    catalogue_share_of,
    shares_of_bins,
)
from m6rec.kernels.ranking.blending import PICTURES_ALONE, Candidates, ndcg_of_users

# One item that nobody has, three that many have.
COUNTS = np.array([0, 50, 50, 50])


def two_users() -> Candidates:
    """The first has held out a new item and two old ones, the second an old one."""
    return Candidates(
        indptr=np.array([0, 3, 6]),
        scores=np.array([[3, 2, 1, 3, 2, 1]], np.float32),
        relevant=np.array([True, True, True, False, True, False]),
        relevant_counts=np.array([3, 2]),
        item_bins=np.array([0, 3, 3, 3, 3, 3]),
        user_bins=np.array([3, 1]),
        owners=np.array([7, 8]),
    )


def test_shares_are_between_those_of_validation_and_of_the_catalogue() -> None:
    shares = shares_of_bins(np.array([10, 0, 0, 90, 0]), COUNTS, 0.5)
    assert shares == pytest.approx([(0.1 + 0.25) / 2, 0.0, 0.0, (0.9 + 0.75) / 2, 0.0])
    # Where validation has no hit of a bin, there is nothing to learn of it.
    alone = shares_of_bins(np.array([0, 0, 0, 9, 0]), COUNTS, 0.5)
    assert alone.tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_each_user_has_held_out_items_of_one_bin_alone() -> None:
    # Half of the items are new, so that of two users one stands for them.
    balanced = balance_by_evidence(two_users(), np.array([0, 0, 50, 0]), 0.9)
    assert len(balanced.relevant_counts) == 2
    new, old = np.split(balanced.relevant, balanced.indptr[1:-1])
    assert new.tolist() == [True, False, False]
    assert old.tolist() in ([False, True, True], [False, True, False])
    assert balanced.relevant_counts.tolist() == [1, old.sum()]
    assert ndcg_of_users(balanced, balanced.scores[0], 3)[0] == pytest.approx(1.0)


def test_held_out_items_of_copies_are_counted_once() -> None:
    copies = two_users().of_users(np.array([0, 0, 1, 0]))
    balanced = balance_by_evidence(copies, np.array([0, 0, 50, 0]), 0.9)
    assert set(balanced.owners) <= {7, 8}
    assert (
        copies.rests_on()
        == two_users().rests_on()
        == {"items": [1, 0, 0, 3, 0], "users": [0, 1, 0, 3, 0]}
    )
    assert balanced.rests_on()["items"][0] == 1


def test_without_a_hit_nothing_changes() -> None:
    nothing = two_users()
    nothing.relevant[:] = False
    assert balance_by_evidence(nothing, COUNTS, 0.5) is nothing


def test_the_more_items_lack_interactions_the_more_the_catalogue_counts() -> None:
    assert catalogue_share_of(np.array([3, 1, 8])) == 0.0
    assert catalogue_share_of(np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])) == pytest.approx(0.3)
    assert catalogue_share_of(np.array([0, PICTURES_ALONE, 1])) == 0.9
    assert catalogue_share_of(np.zeros(0, np.int64)) == 0.0
