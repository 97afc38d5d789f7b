"""`project` is the exact optimum of a row against the item side, for every kind of model."""

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.projection import (
    FactorModel,
    aligned_with,
    along_principal_axes,
    build_factor_model,
    padded_by_later_items,
    project,
)
from tests.matrix_rows import rows_from_scipy

ITEMS, RANK = 30, 7


def _rows(seed: int = 0) -> Rows:
    matrix = sp.random(12, ITEMS, 0.3, format="lil", random_state=seed, dtype=np.float32)
    matrix[3, :] = 0
    matrix[4, :] = 2.0
    return rows_from_scipy(matrix.tocsr())


def _least_squares(**changes: float) -> FactorModel:
    parameters = {
        "unobserved_weight": 0.1,
        "weight_scale": 2.0,
        "regularisation": 0.05,
        "frequency_exponent": 0.5,
        "frequency_offset": 3.0,
        "explicit": 0.0,
        "mean_rating": 0.0,
    }
    factors = np.random.default_rng(1).standard_normal((ITEMS, RANK)).astype(np.float32)
    return build_factor_model(
        "als",
        factors,
        None,
        np.ones(ITEMS, np.float32),
        {**parameters, **changes},
        np.ones(ITEMS, np.int64),
    )


def test_implicit_least_squares_equals_the_dense_normal_equations() -> None:
    rows, model = _rows(), _least_squares()
    items = model.factors.astype(np.float64)
    weights = 2.0 * rows.to_scipy(ITEMS).toarray().astype(np.float64)
    users = project(model, rows)
    for row in (0, 4, 11):
        observed = weights[row] > 0
        penalty = 0.05 * (observed.sum() + 3.0) ** 0.5
        left = items.T @ np.diag(0.1 + weights[row]) @ items + penalty * np.eye(RANK)
        right = items.T @ ((weights[row] + 0.1) * observed)
        np.testing.assert_allclose(users[row], np.linalg.solve(left, right), atol=2e-5)


def test_explicit_least_squares_fits_observed_ratings_less_the_mean() -> None:
    rows = _rows()
    model = _least_squares(
        explicit=1.0, mean_rating=0.4, unobserved_weight=0.0, frequency_offset=0.0
    )
    items = model.factors.astype(np.float64)
    users = project(model, rows)
    start, stop = rows.indptr[5], rows.indptr[6]
    seen = items[rows.item_indices[start:stop]]
    penalty = 0.05 * (stop - start) ** 0.5
    right = seen.T @ (rows.weights[start:stop].astype(np.float64) - 0.4)
    expected = np.linalg.solve(seen.T @ seen + penalty * np.eye(RANK), right)
    np.testing.assert_allclose(users[5], expected, atol=1e-4)


@pytest.mark.parametrize("rank", [3, 7, 70])
def test_along_principal_axes_the_solution_is_the_same_turned(rank: int) -> None:
    rows, base = _rows(), _least_squares()
    factors = np.random.default_rng(2).standard_normal((ITEMS, rank)).astype(np.float32)
    turned = along_principal_axes(factors)
    made = [
        build_factor_model("als", one, None, base.scales, base.parameters, base.interaction_counts)
        for one in (factors, turned)
    ]
    scores = [project(model, rows) @ model.factors.T for model in made]
    assert [model.scaled_gram.shape for model in made if model.scaled_gram is not None] == [
        (rank, rank),
        (rank,),
    ]
    np.testing.assert_allclose(scores[1], scores[0], atol=5e-5)
    # Turning what lies along its axes changes nothing.
    np.testing.assert_allclose(along_principal_axes(turned), turned, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 31, 32, 33, 70])
def test_the_solution_is_exact_at_any_rank(rank: int) -> None:
    rows = _rows()
    base = _least_squares()
    factors = np.random.default_rng(2).standard_normal((ITEMS, rank)).astype(np.float32)
    model = build_factor_model(
        "als", factors, None, base.scales, base.parameters, base.interaction_counts
    )
    weights = 2.0 * rows.to_scipy(ITEMS).toarray().astype(np.float64)[4]
    items = factors.astype(np.float64)
    left = items.T @ np.diag(0.1 + weights) @ items
    left += 0.05 * (ITEMS + 3.0) ** 0.5 * np.eye(rank)
    expected = np.linalg.solve(left, items.T @ (weights + 0.1))
    np.testing.assert_allclose(project(model, rows)[4], expected, atol=5e-4)


@pytest.mark.parametrize("size", [1, 10, 40, 64])
@pytest.mark.parametrize("largest", [1.0, 1e4, 1e7])
def test_the_solution_is_exact_with_large_weights(size: int, largest: float) -> None:
    rank, n_items = 64, 200
    generator = np.random.default_rng(2)
    base, factors = _least_squares(), generator.standard_normal((n_items, rank)).astype(np.float32)
    ones = np.ones(n_items, np.float32)
    model = build_factor_model(
        "als", along_principal_axes(factors), None, ones, base.parameters, np.ones(n_items, int)
    )
    weights = (largest * generator.random(size)).astype(np.float32)
    # An entry without confidence beyond the unobserved, and one of a weight far from the others.
    weights[1:3] = (0.0, 1.0)[: len(weights[1:3])]
    rows = Rows(np.array([5]), np.array([0, size]), np.arange(size, dtype=np.int32), weights)
    exact, confidence = model.factors.astype(np.float64), 2.0 * weights.astype(np.float64)
    left = 0.1 * exact.T @ exact + 0.05 * (size + 3.0) ** 0.5 * np.eye(rank)
    left += exact[:size].T * confidence @ exact[:size]
    expected = np.linalg.solve(left, exact[:size].T @ (confidence + 0.1))
    error = np.linalg.norm(project(model, rows)[0] - expected)
    assert error < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("weight", [1.0, 1e5, 1e9])
def test_items_with_one_vector_share_what_speaks_for_it_at_any_weight(weight: float) -> None:
    factors = np.random.default_rng(1).standard_normal((ITEMS, RANK)).astype(np.float32)
    factors[:4] = factors[0]
    base = _least_squares(regularisation=1e-3, weight_scale=1.0)
    model = build_factor_model(
        "als", factors, None, base.scales, base.parameters, base.interaction_counts
    )
    given = np.full(4, weight, np.float32)
    row = Rows(np.array([5]), np.array([0, 4]), np.arange(4, dtype=np.int32), given)
    vectors = factors.astype(np.float64)
    gram = 0.1 * vectors.T @ vectors + 1e-3 * (4 + 3.0) ** 0.5 * np.eye(RANK)
    alone = np.linalg.solve(gram, vectors[0])
    expected = alone * 4 * (weight + 0.1) / (1.0 + 4 * weight * (vectors[0] @ alone))
    np.testing.assert_allclose(project(model, row)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_linear_projection_is_the_weighted_sum_of_its_rows() -> None:
    rows, base = _rows(), _least_squares()
    model = build_factor_model(
        "svd", base.factors, base.factors * 2, base.scales, {}, base.interaction_counts
    )
    expected = rows.to_scipy(ITEMS) @ (base.factors * 2)
    np.testing.assert_allclose(project(model, rows), expected, rtol=1e-5, atol=1e-5)


def test_a_row_without_entries_gets_zeros() -> None:
    rows, model = _rows(), _least_squares()
    linear = build_factor_model(
        "svd", model.factors, model.factors, model.scales, {}, model.interaction_counts
    )
    assert rows.counts[3] == 0
    assert not project(model, rows)[3].any()
    assert not project(linear, rows)[3].any()
    assert project(model, rows.slice(0, 0)).shape == (0, RANK)


def test_a_row_gives_the_same_factor_alone_as_among_others() -> None:
    rows, model = _rows(), _least_squares()
    np.testing.assert_array_equal(project(model, rows.slice(7, 8))[0], project(model, rows)[7])


@pytest.mark.parametrize("linear", [True, False])
def test_a_model_is_turned_towards_earlier_factors_and_scores_as_before(linear: bool) -> None:
    rows, model = _rows(), _least_squares()
    if linear:
        model = build_factor_model(
            "svd",
            model.factors,
            model.factors * 0.5,
            np.linspace(1, 2, ITEMS, dtype=np.float32),
            {},
            model.interaction_counts,
        )
    generator = np.random.default_rng(2)
    rotation = np.linalg.qr(generator.standard_normal((RANK, RANK)))[0]
    earlier = (model.factors @ rotation).astype(np.float32)
    earlier[3] = 0.0
    turned = aligned_with(model, earlier)
    known = np.delete(np.arange(ITEMS), 3)
    np.testing.assert_allclose(turned.factors[known], earlier[known], atol=1e-5)
    before, after = (project(one, rows) @ one.scored_factors.T for one in (model, turned))
    np.testing.assert_allclose(after, before, atol=2e-4)


def test_earlier_factors_of_other_lengths_are_met_as_far_as_they_go() -> None:
    model, rows = _least_squares(), _rows()
    scores = project(model, rows) @ model.scored_factors.T
    generator = np.random.default_rng(9)
    longer = np.linalg.qr(generator.standard_normal((RANK + 2, RANK)))[0].T
    for earlier in (model.factors[:, :3], (model.factors @ longer).astype(np.float32)):
        turned = aligned_with(model, earlier)
        assert turned.rank == max(RANK, earlier.shape[1])
        np.testing.assert_allclose(
            project(turned, rows) @ turned.scored_factors.T, scores, atol=2e-4
        )
    np.testing.assert_allclose(turned.factors, earlier, atol=1e-5)


@pytest.mark.parametrize("linear", [False, True])
def test_items_that_came_later_change_no_factor_of_a_user(linear: bool) -> None:
    model = _least_squares()
    if linear:
        model = build_factor_model(
            "svd", model.factors, -model.factors, model.scales, {}, model.interaction_counts
        )
    later = padded_by_later_items(model, 3)
    assert (later.n_items, later.trained_items) == (ITEMS + 3, ITEMS)
    assert not later.scored_factors[ITEMS:].any()
    users = project(model, _rows())
    np.testing.assert_array_equal(project(later, _rows()), users)
    # An item that nobody had in training says nothing of who has it.
    matrix = sp.csr_matrix((np.ones(1, np.float32), ([0], [ITEMS + 1])), shape=(1, ITEMS + 3))
    assert not project(later, rows_from_scipy(matrix))[0].any()
    assert padded_by_later_items(model, 0) is model
