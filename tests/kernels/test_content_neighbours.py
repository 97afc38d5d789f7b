"""Content neighbours against dense kernel ridge regression."""

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.neighbours.content_neighbours import (
    content_weights,
    neighbours_by_vectors,
    represent_by_neighbours,
    rows_by_neighbours,
    warm_postings,
)
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, item_weights_from_scipy

N_ITEMS, N_TERMS, PENALTY = 40, 25, 0.7


@pytest.fixture(scope="module")
def terms() -> sp.csr_matrix:
    drawn = sp.random(N_ITEMS, N_TERMS, 0.2, random_state=3, format="csr", dtype=np.float32)
    lengths = np.sqrt(np.asarray(drawn.multiply(drawn).sum(axis=1)).ravel())
    unit = sp.diags(1.0 / np.maximum(lengths, 1e-9)) @ drawn
    return sp.csr_matrix(unit, dtype=np.float32)


def every_target() -> np.ndarray:
    return np.arange(N_ITEMS, dtype=np.int32)


@pytest.mark.parametrize("vector_share", [0.0, 0.4])
@pytest.mark.parametrize("candidates", [5, N_ITEMS])
def test_weights_solve_the_kernel_ridge_of_the_nearest_warm_items(
    terms: sp.csr_matrix, candidates: int, vector_share: float
) -> None:
    vectors = unit_rows(np.random.default_rng(5).standard_normal((N_ITEMS, 6)).astype(np.float32))
    counts = np.arange(N_ITEMS) % 3  # A third of the items have no interactions.
    postings = warm_postings(terms, counts, longest=N_ITEMS, seed=1)
    solved = content_weights(
        terms, vectors, postings, every_target(), candidates, vector_share, PENALTY
    )
    found = solved.to_scipy()
    by_terms = np.asarray((terms @ terms.T).todense())
    likeness = (1.0 - vector_share) * by_terms + vector_share * vectors @ vectors.T
    for target in range(N_ITEMS):
        eligible = [i for i in range(N_ITEMS) if i != target and counts[i] and by_terms[i, target]]
        nearest = sorted(eligible, key=lambda i: (-by_terms[i, target], i))[:candidates]
        system = likeness[np.ix_(nearest, nearest)] + PENALTY * np.eye(len(nearest))
        expected = np.zeros(N_ITEMS)
        expected[nearest] = np.linalg.solve(system, likeness[nearest, target])
        np.testing.assert_allclose(found[target].toarray().ravel(), expected, atol=2e-4)


def test_equal_items_have_equal_weights_whichever_of_them_a_sample_holds() -> None:
    # All have term 0, of which the sample holds one item, and two more terms bring the others.
    equal = sp.csr_matrix(np.full((6, 3), 1 / np.sqrt(3), dtype=np.float32))
    counts = np.array([0, 1, 1, 1, 1, 1])
    postings = warm_postings(equal, counts, longest=6, seed=1).tolil()
    postings[0, 2:] = 0
    vectors, target = np.zeros((6, 0), np.float32), np.zeros(1, np.int32)
    found = content_weights(equal, vectors, sp.csr_matrix(postings), target, 5, 0.0, PENALTY)
    # K is 1 throughout: (K + 0.7 I) w = 1 gives 1 / 5.7 each.
    np.testing.assert_allclose(found.to_scipy().toarray()[0, 1:], 1 / 5.7, rtol=1e-5)


def test_a_term_that_very_many_items_have_is_cut_to_a_sample() -> None:
    everywhere = sp.csr_matrix(np.ones((50, 1), dtype=np.float32))
    postings = warm_postings(everywhere, np.ones(50, np.int64), longest=7, seed=2)
    assert postings.shape == (1, 50)
    assert postings.nnz == 7
    assert len(np.unique(postings.indices)) == 7
    again = warm_postings(everywhere, np.ones(50, np.int64), longest=7, seed=2)
    assert postings.indices.tolist() == again.indices.tolist()


def test_an_item_without_interactions_is_represented_by_its_neighbours() -> None:
    vectors = np.array(
        [[3.0, 0.0], [0.0, 5.0], [9.0, 9.0], [1.0, 1.0], [0.0, 1.0]], dtype=np.float32
    )
    # Items 2 and 4 are like items 0 and 1 alike; item 3 is like nothing; item 4 is no news.
    by_target = ItemWeights(
        np.array([0, 0, 0, 2, 2, 4]),
        np.array([0, 1, 0, 1], np.int32),
        np.full(4, 0.5, np.float32),
    )
    found = represent_by_neighbours(vectors, by_target, np.array([4, 4, 0, 0, 1]))
    # As long as item 4, which has the fewest interactions, against a mean of all of 3; the
    # neighbours have a mean length of 4.
    direction = np.array([3.0, 5.0]) / np.sqrt(34.0)
    np.testing.assert_allclose(found[2], (1.0 / 3.0) * 4.0 * direction, rtol=1e-6)
    np.testing.assert_array_equal(found[[0, 1, 3, 4]], vectors[[0, 1, 3, 4]])


def test_without_any_interactions_all_vectors_stay() -> None:
    vectors = np.ones((2, 2), dtype=np.float32)
    alike = ItemWeights(np.array([0, 1, 1]), np.array([1], np.int32), np.ones(1, np.float32))
    found = represent_by_neighbours(vectors, alike, np.zeros(2, np.int64))
    np.testing.assert_array_equal(found, vectors)


def test_content_neighbours_of_weight_0_give_a_vector_of_zeros() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    by_target = ItemWeights(np.array([0, 0, 1]), np.zeros(1, np.int32), np.zeros(1, np.float32))
    found = represent_by_neighbours(vectors, by_target, np.array([2, 0]))
    np.testing.assert_array_equal(found, vectors)


def test_a_history_item_that_nobody_has_speaks_as_its_neighbours_do() -> None:
    known = sp.csr_matrix(
        np.array([[0, 1, 2, 0], [3, 0, -4, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    )
    beta = sp.csr_matrix(
        np.array([[0, 9, 0, 0], [0, 0, 0, 0], [0.5, 0.25, 0, 0], [0, 0, 0, 0]], np.float32)
    )
    counts = np.array([5, 5, 0, 0])
    weights, by_target = item_weights_from_scipy(known), item_weights_from_scipy(beta)
    found = rows_by_neighbours(weights, by_target, counts, 3).to_scipy().toarray()
    np.testing.assert_array_equal(found[[0, 1, 3]], known.toarray()[[0, 1, 3]])
    np.testing.assert_allclose(found[2], [0.75, 0.5, 0.0, 0.0])
    [cut] = rows_by_neighbours(weights, by_target, counts, 1).to_scipy()[2].toarray()
    np.testing.assert_allclose(cut, [0.75, 0.0, 0.0, 0.0])
    assert rows_by_neighbours(weights, by_target, np.ones(4, np.int64), 3) is weights


def test_neighbours_by_vectors_solve_the_kernel_ridge_of_the_nearest_warm_items() -> None:
    vectors = np.random.default_rng(6).standard_normal((N_ITEMS, 5)).astype(np.float32)
    counts = np.arange(N_ITEMS) % 3
    targets = np.flatnonzero(counts == 0)[1::2]
    found = neighbours_by_vectors(vectors, targets, counts, 4, PENALTY).to_scipy()
    unit = unit_rows(vectors).astype(np.float64)
    warm = np.flatnonzero(counts)
    for target in targets:
        nearest = warm[np.argsort(-unit[warm] @ unit[target])[:4]]
        system = unit[nearest] @ unit[nearest].T + PENALTY * np.eye(4)
        expected = np.zeros(N_ITEMS)
        expected[nearest] = np.linalg.solve(system, unit[nearest] @ unit[target])
        np.testing.assert_allclose(found[target].toarray().ravel(), expected, atol=1e-4)
    assert set(np.flatnonzero(np.diff(found.indptr))) == set(targets)


def test_neighbours_by_vectors_are_fewer_where_there_are_fewer_warm_items() -> None:
    vectors, counts = np.ones((3, 2), np.float32), np.array([0, 1, 0])
    found = neighbours_by_vectors(vectors, np.array([0, 2]), counts, 20, PENALTY)
    assert np.diff(found.indptr).tolist() == [1, 0, 1]
