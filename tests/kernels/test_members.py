import numpy as np

from m6rec.kernels.item_neighbours import ItemWeights
from m6rec.kernels.members import (
    DotMember,
    GivenEncoder,
    HistoryMember,
    UserBlock,
    popularity_member,
    transformed_scores,
)
from m6rec.kernels.rows import Rows, concatenate_rows

NOTHING = np.zeros((2, 0), dtype=np.float32)
ROWS = Rows(
    user_index=np.array([0, 1]),
    offsets=np.array([0, 2, 2]),
    item_indices=np.array([0, 1], dtype=np.int32),
    weights=np.array([1.0, 2.0], dtype=np.float32),
)


def block(**given: np.ndarray) -> UserBlock:
    return UserBlock(ROWS, NOTHING, NOTHING, given, np.array([1.0, 0.0], dtype=np.float32))


def test_history_scores_are_weighted_sums_of_the_historys_rows() -> None:
    weights = ItemWeights(
        offsets=np.array([0, 1, 2, 2]),
        neighbour_indices=np.array([2, 2], dtype=np.int32),
        weights=np.array([0.5, 0.25], dtype=np.float32),
    )
    member = HistoryMember("ridge", weights, n_items=3)
    assert member.scores(block()).tolist() == [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_a_recency_scale_lets_older_history_count_less() -> None:
    weights = ItemWeights(
        offsets=np.array([0, 1, 2, 2]),
        neighbour_indices=np.array([2, 2], dtype=np.int32),
        weights=np.array([1.0, 1.0], dtype=np.float32),
    )
    member = HistoryMember("recent_ridge", weights, n_items=3, recency_scale=1.0)
    assert member.scores(block())[0, 2] == np.float32(np.exp(-1.0) + 2.0)


def test_the_square_root_treats_negative_scores_as_none() -> None:
    vectors = np.array([[4.0], [-4.0]], dtype=np.float32)
    member = DotMember("given", GivenEncoder("given"), vectors, "square_root")
    users = np.ones((2, 1), dtype=np.float32)
    assert transformed_scores(member, block(given=users)).tolist() == [[2.0, 0.0]] * 2


def test_popularity_is_the_same_for_every_user() -> None:
    scores = popularity_member(np.array([0, 3])).scores(block())
    assert np.array_equal(scores, np.tile(np.log1p([0, 3]).astype(np.float32), (2, 1)))


def test_rows_slice_and_concatenate_to_themselves() -> None:
    again = concatenate_rows([ROWS.slice(0, 1), ROWS.slice(1, 2)])
    assert np.array_equal(again.offsets, ROWS.offsets)
    assert np.array_equal(again.item_indices, ROWS.item_indices)
    assert np.array_equal(again.user_index, ROWS.user_index)
