import numpy as np
import pytest

from m6rec.kernels.arrays.rows import Rows, concatenate_rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.candidates import deviations_of
from m6rec.kernels.ranking.members import (
    DotMember,
    GivenEncoder,
    HistoryMember,
    Member,
    UserBlock,
    popularity_member,
    repeats_member,
)
from m6rec.kernels.ranking.scoring import RepresentedUsers, represent, scores_and_moments

NOTHING = np.zeros((2, 0), dtype=np.float32)
ROWS = Rows(
    user_index=np.array([0, 1]),
    indptr=np.array([0, 2, 2]),
    item_indices=np.array([0, 1], dtype=np.int32),
    weights=np.array([1.0, 2.0], dtype=np.float32),
)


def block(**given: np.ndarray) -> UserBlock:
    return UserBlock(
        ROWS, NOTHING, NOTHING, given, np.array([1.0, 0.0], dtype=np.float32), np.array([1, 2])
    )


def scores_of(member: Member, users: UserBlock, n_items: int) -> np.ndarray:
    """All scores of all users, as the hybrid would blend them."""
    n_users = len(users.rows)
    indptr = np.arange(n_users + 1, dtype=np.int64) * n_items
    items = np.tile(np.arange(n_items, dtype=np.int32), n_users)
    represented = represent({member.name: member}, users)
    scores, moments = scores_and_moments(member, represented, indptr, items, n_items)
    table = scores.reshape(n_users, n_items)
    assert moments[:, 0] == pytest.approx(table.mean(axis=1), rel=1e-5)
    assert moments[:, 1] == pytest.approx(np.square(table).mean(axis=1), rel=1e-5)
    return table


def weights_to_item_2(first: float, second: float) -> ItemWeights:
    """What items 0 and 1 say for item 2."""
    return ItemWeights(
        indptr=np.array([0, 1, 2, 2]),
        neighbour_indices=np.array([2, 2], dtype=np.int32),
        weights=np.array([first, second], dtype=np.float32),
    )


def test_history_scores_are_weighted_sums_of_the_historys_rows() -> None:
    member = HistoryMember("ridge", weights_to_item_2(0.5, 0.25))
    assert scores_of(member, block(), 3).tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_a_recency_scale_lets_older_history_count_less() -> None:
    member = HistoryMember("recent_ridge", weights_to_item_2(1.0, 1.0), recency_scale=1.0)
    assert scores_of(member, block(), 3)[0, 2] == np.float32(np.exp(-1.0) + 2.0)


def test_the_square_root_treats_negative_scores_as_none() -> None:
    against = HistoryMember("ridge", weights_to_item_2(-8.0, 1.0), "square_root")
    assert scores_of(against, block(), 3)[0, 2] == 0.0
    both = HistoryMember("ridge", weights_to_item_2(2.0, 1.0), "square_root")
    assert scores_of(both, block(), 3)[0, 2] == 2.0


def test_given_vectors_score_by_dot_products() -> None:
    vectors = np.array([[4.0], [-4.0]], dtype=np.float32)
    member = DotMember("given", GivenEncoder("given", 2), vectors)
    users = np.array([[1.0], [0.5]], dtype=np.float32)
    assert scores_of(member, block(given=users), 2).tolist() == [[4.0, -4.0], [2.0, -2.0]]


def test_users_without_given_vectors_score_nothing() -> None:
    member = DotMember("given", GivenEncoder("given", 2), np.ones((3, 2), np.float32))
    nobody_is_known = np.zeros((2, 0), np.float32)
    assert scores_of(member, block(given=nobody_is_known), 3).tolist() == [[0.0] * 3] * 2


def test_popularity_is_the_same_for_every_user() -> None:
    scores = scores_of(popularity_member(np.array([0, 3])), block(), 2)
    assert np.array_equal(scores, np.tile(np.log1p([0, 3]).astype(np.float32), (2, 1)))


def test_rows_slice_and_concatenate_to_themselves() -> None:
    again = concatenate_rows([ROWS.slice(0, 1), ROWS.slice(1, 2)])
    assert np.array_equal(again.indptr, ROWS.indptr)
    assert np.array_equal(again.item_indices, ROWS.item_indices)
    assert np.array_equal(again.user_index, ROWS.user_index)


def test_repeats_are_scored_by_weight_and_recency_and_new_items_are_not() -> None:
    timed = scores_of(repeats_member(3, recency_scale=1.0), block(), 3)
    assert timed[0] == pytest.approx([np.exp(-0.5), np.sqrt(2.0), 0.0])
    assert timed[1].tolist() == [0.0, 0.0, 0.0]
    untimed = scores_of(repeats_member(3, recency_scale=None), block(), 3)
    assert untimed[0] == pytest.approx([1.0, np.sqrt(2.0), 0.0])


@pytest.mark.parametrize("n_items", [10, 1_000])
def test_the_deviation_of_scores_that_are_all_equal_is_one(n_items: int) -> None:
    member = popularity_member(np.full(n_items, 7))
    users = RepresentedUsers({"popularity": np.ones((2, 1), np.float32)}, {}, np.ones(2, np.int64))
    nothing = np.zeros(3, np.int64), np.zeros(0, np.int32)
    _, moments = scores_and_moments(member, users, *nothing, n_items)
    assert deviations_of(moments[:, None]).tolist() == [1.0]
