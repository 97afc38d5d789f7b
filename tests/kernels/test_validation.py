"""Members are measured by lists of the kind that the run makes."""

import numpy as np
import pytest

from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.ranking.members import UserBlock, popularity_member, repeats_member
from m6rec.kernels.ranking.validation import ValidationUsers

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
