"""Item neighbours by hand, and what must not change them."""

import time

import numpy as np
import numpy.testing as npt
import pytest
import scipy.sparse as sp

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.arrays.selection import largest_in_rows
from m6rec.kernels.neighbours.item_neighbours import (
    ItemWeights,
    gram_block,
    item_neighbours,
    item_weights_from_scipy,
    prune_rows,
    sample_long_rows,
    transpose,
    user_scales,
)
from tests.matrix_rows import rows_from_scipy

MATRIX = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=np.float32)


def _rows(dense: np.ndarray) -> Rows:
    return rows_from_scipy(sp.csr_matrix(dense.astype(np.float32)))


def _random(n_users: int, n_items: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = generator.integers(1, 4, (n_users, n_items))
    return np.where(generator.random((n_users, n_items)) < 0.3, values, 0).astype(np.float32)


def test_a_small_matrix_gives_the_similarities_computed_by_hand() -> None:
    found = item_neighbours(_rows(MATRIX), 3, 2, 0.5, 0.5).to_scipy().toarray()
    two, three = 2**-0.5, 3**-0.5
    zero_one = (two + three) / np.sqrt(2 * 3)
    zero_two = three / np.sqrt(2 * 2)
    expected = [[0, zero_one, zero_two], [zero_one, 0, zero_one], [zero_two, zero_one, 0]]
    npt.assert_allclose(found, expected, rtol=1e-6)


def test_the_best_k_of_each_target_stand_in_the_rows_of_the_history_items() -> None:
    found = item_neighbours(_rows(MATRIX), 3, 1, 0.5, 0.5).to_scipy().toarray()
    # Items 0 and 2 are each nearest to item 1; target 1 finds 0 and 2 equal and takes the lower.
    assert (found > 0).tolist() == [[False, True, False], [True, False, True], [False] * 3]


def test_weighted_rows_agree_with_the_dense_product() -> None:
    dense = _random(40, 15, seed=1)
    counts = (dense > 0).sum(axis=1)
    gram = (np.where(counts, np.maximum(counts, 1) ** -0.4, 0)[:, None] * dense).T @ dense
    degrees = dense.sum(axis=0)
    expected = gram / np.outer(degrees, degrees) ** 0.3
    np.fill_diagonal(expected, 0)
    found = item_neighbours(_rows(dense), 15, 15, 0.4, 0.3).to_scipy().toarray()
    npt.assert_allclose(found, expected, rtol=1e-5)


def test_gram_shares_of_any_parts_in_any_order_add_up_to_exactly_the_whole() -> None:
    rows = _rows(_random(60, 12, seed=2))
    targets = np.array([1, 4, 11], dtype=np.int32)
    parts = [rows.slice(40, 60), rows.slice(0, 17), rows.slice(17, 40)]
    blocks = [gram_block(part, user_scales(part, 0.5), targets, 12, 9.0) for part in parts]
    whole = gram_block(rows, user_scales(rows, 0.5), targets, 12, 9.0)
    total = blocks[0] + blocks[1] + blocks[2]
    npt.assert_array_equal(total.entries.toarray(), whole.entries.toarray())
    npt.assert_array_equal(total.diagonal, whole.diagonal)


def test_items_and_users_without_interactions_have_no_neighbours() -> None:
    dense = np.zeros((3, 4), dtype=np.float32)
    dense[0, 1] = 1
    assert len(item_neighbours(_rows(dense), 4, 2, 0.5, 0.5).weights) == 0
    assert len(item_neighbours(_rows(dense[1:]), 4, 2, 0.5, 0.5).weights) == 0


def test_pruning_keeps_the_largest_absolute_weights_and_breaks_ties_by_lower_index() -> None:
    weights = ItemWeights(
        np.array([0, 4, 4, 5], dtype=np.int64),
        np.array([0, 1, 2, 3, 2], dtype=np.int32),
        np.array([0.5, -2.0, 0.5, 0.1, 3.0], dtype=np.float32),
    )
    pruned = prune_rows(weights, 2)
    assert pruned.indptr.tolist() == [0, 2, 2, 3]
    assert pruned.neighbour_indices.tolist() == [0, 1, 2]
    assert pruned.weights.tolist() == [0.5, -2.0, 3.0]


def test_the_largest_of_long_rows_agree_with_a_stable_sort() -> None:
    values = np.random.default_rng(3).integers(0, 30, 500).astype(np.float32) / 7
    positions, counts = largest_in_rows(np.array([0, 300, 500]), values, 20)
    first = np.sort(np.argsort(-values[:300], kind="stable")[:20])
    second = np.sort(300 + np.argsort(-values[300:], kind="stable")[:20])
    assert counts.tolist() == [20, 20]
    npt.assert_array_equal(positions, np.concatenate([first, second]))


def test_transposing_twice_gives_the_same_weights() -> None:
    weights = item_weights_from_scipy(sp.random(20, 20, 0.2, "csr", random_state=4))
    again = transpose(transpose(weights))
    npt.assert_array_equal(again.neighbour_indices, weights.neighbour_indices)
    npt.assert_array_equal(again.weights, weights.weights)
    npt.assert_allclose(
        transpose(weights).to_scipy().toarray(), weights.to_scipy().toarray().T, rtol=0
    )


def test_a_long_row_is_cut_to_a_sample_that_depends_on_user_and_items_only() -> None:
    dense = np.ones((3, 500), dtype=np.float32)
    dense[1, 7:] = 0
    rows = _rows(dense)
    cut = sample_long_rows(rows, 50)
    assert cut.counts.tolist() == [50, 7, 50]
    alone = sample_long_rows(rows.slice(2, 3), 50)
    npt.assert_array_equal(alone.item_indices, cut.item_indices[57:])
    assert np.all(np.diff(alone.item_indices) > 0)
    assert set(alone.item_indices) != set(cut.item_indices[:50])


def test_samples_of_many_users_favour_no_item() -> None:
    rows = _rows(np.ones((2000, 40), dtype=np.float32))
    taken = np.bincount(sample_long_rows(rows, 10).item_indices, minlength=40)
    # 500 expected, standard deviation 19.
    assert taken.min() > 400
    assert taken.max() < 600


def test_a_skewed_user_costs_no_more_than_the_maximum_history_squared() -> None:
    n_items = 60_000
    rows = _rows(np.ones((1, n_items), dtype=np.float32))
    item_neighbours(_rows(MATRIX), 3, 1, 0.5, 0.5)
    started = time.perf_counter()
    found = item_neighbours(sample_long_rows(rows, 200), n_items, 300, 0.5, 0.5)
    # Uncut, this user alone has 3.6 billion co-occurrences.
    assert len(found.weights) == 200 * 199
    assert time.perf_counter() - started < 5.0


def test_a_bound_that_is_not_positive_is_refused() -> None:
    with pytest.raises(DataError, match="largest contribution"):
        gram_block(_rows(MATRIX), np.ones(3), np.arange(3, dtype=np.int32), 3, float("nan"))


def test_one_large_weight_leaves_the_neighbours_of_all_others() -> None:
    rng = np.random.default_rng(1)
    dense = (rng.random((200, 6)) < 0.5).astype(np.float32)
    dense[:, 5] = 0.0
    before = item_neighbours(_rows(dense), 6, 5, 0.5, 0.5).to_scipy().toarray()
    dense[0, 5] = 1e6
    after = item_neighbours(_rows(dense), 6, 5, 0.5, 0.5).to_scipy().toarray()
    np.testing.assert_allclose(after[:5, :5], before[:5, :5], rtol=0.05, atol=1e-3)
    assert (after[:5, :5] > 0.0).sum() == 20
