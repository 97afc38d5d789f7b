"""User neighbours by hand."""

import numpy as np
import numpy.testing as npt
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import Float32, Rows
from m6rec.kernels.neighbours.user_neighbours import (
    CandidateUsers,
    UserNeighbours,
    user_neighbour_search,
)
from m6rec.kernels.ranking.members import SparseRows, Terms
from m6rec.kernels.ranking.sparse_sums import sums_at
from tests.matrix_rows import rows_from_scipy

MATRIX = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=np.float32)


def _rows(dense: np.ndarray) -> Rows:
    return rows_from_scipy(sp.csr_matrix(dense.astype(np.float32)))


def _scores(found: UserNeighbours, rows: Rows, n_items: int) -> Float32:
    """All scores of all users: the neighbours' rows, added up."""
    n_users = len(found.indptr) - 1
    items = np.tile(np.arange(n_items, dtype=np.int32), n_users)
    indptr = np.arange(n_users + 1, dtype=np.int64) * n_items
    terms = Terms(found.indptr, found.candidate_indices, found.weights)
    candidates = SparseRows(rows.indptr, rows.item_indices, rows.weights)
    return sums_at(terms, candidates, False, indptr, items, n_items)[0].reshape(-1, n_items)


def test_similarities_are_the_damped_cosines_computed_by_hand() -> None:
    rows = _rows(MATRIX)
    found = user_neighbour_search(CandidateUsers(rows), 4, 10, 0.5).find(rows)
    # d = 2, 3, 1, 1: |u0|^2 = 2^-.5 + 3^-.5, |u2|^2 = 3^-.5 + 1, and they share item 1.
    shared = 3**-0.5
    other = shared / np.sqrt((2**-0.5 + shared) * (shared + 1))
    assert found.indptr.tolist() == [0, 2, 4, 6, 6]
    assert found.candidate_indices.tolist() == [1, 2, 0, 2, 0, 1]
    npt.assert_allclose(found.weights, [1, other, 1, other, other, other], rtol=1e-6)


def test_ties_go_to_the_lower_index_and_the_user_itself_is_left_out() -> None:
    rows = _rows(np.ones((4, 2)))
    found = user_neighbour_search(CandidateUsers(rows), 2, 2, 0.5).find(rows)
    assert found.candidate_indices.reshape(4, 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_scores_add_the_neighbours_rows_by_similarity() -> None:
    rows = _rows(MATRIX)
    search = user_neighbour_search(CandidateUsers(rows), 4, 1, 0.5)
    scores = _scores(search.find(rows), rows, 4)
    npt.assert_allclose(scores[0], [1, 1, 0, 0], rtol=1e-6)
    npt.assert_allclose(scores[3], [0, 0, 0, 0])
    similarity = search.find(rows).weights[2]
    npt.assert_allclose(scores[2], similarity * MATRIX[0], rtol=1e-6)


def test_weighted_blocks_agree_with_the_dense_cosine_for_many_users() -> None:
    generator = np.random.default_rng(5)
    dense = np.where(generator.random((600, 20)) < 0.3, generator.integers(1, 4, (600, 20)), 0)
    rows, candidates = _rows(dense), CandidateUsers(_rows(dense).slice(0, 50))
    damping = np.maximum((dense[:50] > 0).sum(axis=0), 1) ** -0.3
    norms = np.maximum(np.sqrt((dense**2) @ damping), 1e-9)
    cosine = (dense * damping) @ dense[:50].T / np.outer(norms, norms[:50])
    cosine[np.arange(50), np.arange(50)] = 0
    found = user_neighbour_search(candidates, 20, 50, 0.3).find(rows)
    result = sp.csr_matrix(
        (found.weights, found.candidate_indices, found.indptr), (600, 50)
    ).toarray()
    npt.assert_allclose(result, cosine, rtol=1e-4, atol=1e-6)


def test_a_new_user_finds_neighbours_by_its_row_alone() -> None:
    search = user_neighbour_search(CandidateUsers(_rows(MATRIX)), 4, 10, 0.5)
    new = rows_from_scipy(sp.csr_matrix(MATRIX[:1]), np.array([99]))
    assert search.find(new).candidate_indices.tolist() == [0, 1, 2]
