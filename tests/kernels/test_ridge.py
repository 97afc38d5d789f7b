"""The local ridge against dense solutions."""

import numpy as np
import numpy.testing as npt
import pytest
import scipy.sparse as sp

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.neighbours.item_neighbours import gram_block, item_degrees, power, transpose
from m6rec.kernels.neighbours.ridge import (
    Gram,
    pruned_gram_rows,
    ridge,
    ridge_penalty,
    solve_all,
    solve_targets,
)
from tests.matrix_rows import rows_from_scipy

N_USERS, N_ITEMS, A, B = 200, 30, 0.25, 0.3


def _random_rows(rarest: float) -> Rows:
    generator = np.random.default_rng(7)
    popularity = np.linspace(rarest, 0.5, N_ITEMS)
    dense = (generator.random((N_USERS, N_ITEMS)) < popularity).astype(np.float32)
    return rows_from_scipy(sp.csr_matrix(dense))


@pytest.fixture(scope="module")
def rows() -> Rows:
    """So dense that every pair of items co-occurs and all items are candidates of each other."""
    return _random_rows(0.2)


def _gram(rows: Rows, entries: int) -> Gram:
    degrees = item_degrees(rows, N_ITEMS)
    scales = power(rows.counts.astype(np.float64), -2 * A)
    block = gram_block(rows, scales, np.arange(N_ITEMS, dtype=np.int32), N_ITEMS, 1.0)
    return Gram(*pruned_gram_rows(block, degrees, B, entries), degrees)


def _dense_gram(rows: Rows) -> np.ndarray:
    dense = rows.to_scipy(N_ITEMS).toarray().astype(np.float64)
    degrees = dense.sum(axis=0)
    users = np.maximum(dense.sum(axis=1), 1) ** -A
    scaled = users[:, None] * dense * degrees**-B
    return scaled.T @ scaled


def _dense_local(rows: Rows, candidates: int, penalty: float) -> np.ndarray:
    """The recipe's formulas, one target at a time, B by [history, target]."""
    gram = _dense_gram(rows)
    degrees = item_degrees(rows, N_ITEMS)
    ranking = gram * np.outer(degrees, degrees) ** (B - 0.5)
    result = np.zeros((N_ITEMS, N_ITEMS))
    for j in range(N_ITEMS):
        order = [i for i in np.argsort(-ranking[:, j], kind="stable") if i != j][:candidates]
        system = gram[np.ix_(order, order)] + penalty * np.eye(len(order))
        result[order, j] = np.linalg.solve(system, gram[order, j])
    return result * degrees[:, None] ** -B * degrees**B


def test_the_gram_of_the_kernel_is_the_dense_gram(rows: Rows) -> None:
    npt.assert_allclose(_gram(rows, N_ITEMS).dense(), _dense_gram(rows), rtol=1e-5)


def test_local_weights_equal_the_dense_solution_of_each_target() -> None:
    rows = _random_rows(0.05)
    targets = np.arange(N_ITEMS, dtype=np.int32)
    found = transpose(solve_targets(_gram(rows, N_ITEMS), targets, 8, 0.7, B))
    expected = _dense_local(rows, 8, 0.7)
    npt.assert_allclose(found.to_scipy().toarray(), expected, rtol=2e-3, atol=2e-4)
    assert (expected < 0).any(), "the example must have negative weights"


def test_all_candidates_give_the_ease_solution(rows: Rows) -> None:
    gram = _gram(rows, N_ITEMS)
    targets = np.arange(N_ITEMS, dtype=np.int32)
    local = transpose(solve_targets(gram, targets, N_ITEMS, 0.7, B)).to_scipy().toarray()
    ease = solve_all(gram, 0.7, B).to_scipy().toarray()
    npt.assert_allclose(ease, _dense_local(rows, N_ITEMS, 0.7), rtol=1e-4, atol=1e-6)
    npt.assert_allclose(local, ease, rtol=5e-3, atol=5e-4)


def test_a_pruned_gram_keeps_the_diagonal_and_the_largest_normalised_entries(rows: Rows) -> None:
    pruned, whole = _gram(rows, 5).dense(), _dense_gram(rows)
    npt.assert_allclose(np.diag(pruned), np.diag(whole), rtol=1e-5)
    assert np.all((pruned > 0).sum(axis=1) == 6)
    npt.assert_allclose(pruned[pruned > 0], whole[pruned > 0], rtol=1e-5)


def test_the_penalty_is_c_times_the_two_means_by_hand() -> None:
    degrees = np.array([0.0, 1.0, 4.0])
    assert ridge_penalty(10.0, 0.5, degrees, 0.25) == pytest.approx(10 * 0.5 * (1 + 0.5) / 2)


def test_the_whole_function_prunes_each_history_row(rows: Rows) -> None:
    weights = ridge(rows, N_ITEMS, 200, A, B, 20.0, kept=4)
    assert np.diff(weights.indptr).tolist() == [4] * N_ITEMS
    scales = rows.counts[rows.counts > 0] ** (-2 * A)
    penalty = ridge_penalty(20.0, scales.mean(), item_degrees(rows, N_ITEMS), B)
    expected = _dense_local(rows, N_ITEMS, penalty)
    kept = weights.to_scipy().toarray()
    npt.assert_allclose(kept[kept != 0], expected[kept != 0], rtol=1e-3)
    assert np.abs(kept).max(axis=1) == pytest.approx(np.abs(expected).max(axis=1), rel=1e-3)


def test_items_without_interactions_get_and_give_nothing() -> None:
    dense = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [1, 0, 0, 1]], dtype=np.float32)
    weights = ridge(rows_from_scipy(sp.csr_matrix(dense)), 4, 4, A, B, 1.0, 10).to_scipy().toarray()
    assert np.all(weights[2] == 0)
    assert np.all(weights[:, 2] == 0)
    assert np.isfinite(weights).all()
    assert weights[0, 1] > 0


def test_a_matrix_without_interactions_is_refused() -> None:
    with pytest.raises(DataError, match="no interactions"):
        ridge(rows_from_scipy(sp.csr_matrix((3, 4))), 4, 4, A, B, 1.0, 10)
