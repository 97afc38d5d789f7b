"""Members are measured by lists of the kind that the run makes."""

from dataclasses import replace

import numpy as np
import pytest

from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.ranking.members import UserBlock, popularity_member, repeats_member
from m6rec.kernels.ranking.validation import Balance, ValidationUsers

# The user has items 0 and 2, and holds out item 0 again.
ROWS = Rows(np.array([0]), np.array([0, 2]), np.array([0, 2], np.int32), np.ones(2, np.float32))
NOTHING = np.zeros((1, 0), np.float32)
BLOCK = UserBlock(ROWS, NOTHING, NOTHING, {}, np.array([0.0, 1.0], np.float32), np.array([2, 1]))


@pytest.mark.parametrize(("mask_seen", "of_repeats"), [(True, 0.0), (False, 1.0)])
def test_a_repeat_counts_where_lists_may_hold_what_users_have(
    mask_seen: bool, of_repeats: float
) -> None:
    held_out = np.array([0, 1]), np.array([0], np.int32)
    users = ValidationUsers(BLOCK, *held_out, np.zeros(4, np.bool_), mask_seen)
    assert users.ndcg(repeats_member(4, recency_scale=8.0), 2) == of_repeats
    popular = popularity_member(np.array([3, 9, 5, 1]))
    assert users.ndcg(popular, 2) == 0.0


@pytest.mark.parametrize("domains", [(), (Domain("all", np.arange(4, dtype=np.int32), 4),)])
def test_lists_that_are_measured_leave_out_what_users_dislike(domains: tuple[Domain, ...]) -> None:
    # The user dislikes item 1, the most popular, and holds out item 3, the next of those not had.
    held_out = np.array([0, 1]), np.array([3], np.int32)
    disliked = np.array([0, 1]), np.array([1], np.int32)
    users = ValidationUsers(BLOCK, *held_out, np.zeros(4, np.bool_), domains=domains)
    popular = popularity_member(np.array([3, 9, 5, 7]))
    assert users.ndcg(popular, 2) < 1.0
    assert replace(users, disliked=disliked).ndcg(popular, 2) == 1.0


def test_held_out_items_count_by_the_shares_of_their_evidence() -> None:
    rows = Rows(
        np.arange(2), np.array([0, 1, 2]), np.array([0, 0], np.int32), np.ones(2, np.float32)
    )
    nothing = np.zeros((2, 0), np.float32)
    block = UserBlock(rows, nothing, nothing, {}, np.zeros(2, np.float32), np.ones(2, np.int64))
    # The first user holds out items 1 and 3, the second item 1. Lists are 2, 1, 3.
    held_out = np.array([0, 2, 3]), np.array([1, 3, 1], np.int32)
    users = ValidationUsers(block, *held_out, np.zeros(4, np.bool_))
    popular = popularity_member(np.array([9, 5, 7, 1]))
    of_second, of_third = 1 / np.log2(3), 1 / 2
    balance = Balance(item_bins=np.array([3, 3, 3, 1]), shares=np.array([0.0, 0.8, 0.0, 0.2]))
    balanced = replace(users, balance=balance)
    assert balanced.ndcg(popular, 3) == pytest.approx(0.8 * of_third + 0.2 * of_second)
    # Item 1 of both users and item 3 of the first: three values.
    assert len(balanced.ndcg_of_users({"popularity": popular}, 3)) == 3
    # Of the bin of item 3 the first user, then of that of item 1 both.
    assert balanced.owners().tolist() == [0, 0, 1]
    assert users.owners().tolist() == [0, 1]


def test_a_user_counts_once_for_each_domain_in_which_the_user_holds_out() -> None:
    rows = Rows(
        np.array([7, 9]), np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
    )
    nothing = np.zeros((2, 0), np.float32)
    block = UserBlock(rows, nothing, nothing, {}, np.zeros(0, np.float32), np.zeros(0, np.int64))
    domains = (
        Domain("book", np.array([0, 2], np.int32), 4),
        Domain("film", np.array([1, 3], np.int32), 4),
    )
    held_out = np.array([0, 2, 3]), np.array([0, 1, 3], np.int32)
    users = ValidationUsers(block, *held_out, np.zeros(4, np.bool_), domains=domains)
    popular = popularity_member(np.array([9, 5, 7, 1]))
    assert len(users.ndcg_of_users({"popularity": popular}, 1)) == 3
    assert users.owners().tolist() == [7, 7, 9]
