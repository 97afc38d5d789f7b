"""ALS lowers its objective, reaches the normal equations, and resumes as if never stopped."""

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.config.models import AlsConfig
from m6rec.errors import DataError
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.arrays.rows import Float32, Rows, concatenate_rows
from m6rec.kernels.factors.als import alternating_least_squares
from m6rec.kernels.factors.projection import FactorModel, project
from tests.benchmarks.als_objective import als_objective
from tests.matrix_rows import rows_from_scipy

USERS, ITEMS = 60, 40
LOCAL = LocalCommunicator()


def _rows() -> Rows:
    matrix = sp.random(USERS, ITEMS, 0.15, format="lil", random_state=3, dtype=np.float32)
    matrix[7, :] = 0
    matrix[8, :] = 1.0
    matrix[:, 5] = 0
    return rows_from_scipy(matrix.tocsr())


def _dense_objective(model: FactorModel, rows: Rows, config: AlsConfig) -> float:
    weights = rows.to_scipy(ITEMS).toarray().astype(np.float64)
    unobserved = model.parameters["unobserved_weight"]
    users, items = project(model, rows).astype(np.float64), model.factors.astype(np.float64)
    observed = weights > 0
    scores = users @ items.T
    loss = ((weights + unobserved) * (1 - scores) ** 2)[observed].sum()
    loss += unobserved * (scores[~observed] ** 2).sum()
    active = (observed.sum(axis=1) > 0).sum()
    by_user = observed.sum(axis=1) + unobserved * (observed.sum(axis=0) > 0).sum()
    by_item = observed.sum(axis=0) + unobserved * active
    nu, regularisation = config.frequency_exponent, config.regularisation
    loss += regularisation * (by_user**nu @ (users**2).sum(axis=1))
    return float(loss + regularisation * (by_item**nu @ (items**2).sum(axis=1)))


@pytest.mark.parametrize("solver", ["conjugate_gradient", "cholesky"])
def test_the_objective_falls_with_every_iteration(solver: str) -> None:
    rows = _rows()
    objectives = []
    for iterations in (1, 2, 4, 8):
        config = AlsConfig(rank=6, iterations=iterations, unobserved_total=10.0, solver=solver)
        objectives.append(
            als_objective(alternating_least_squares(rows, ITEMS, config, 1, LOCAL), rows)
        )
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[-1] < 0.9 * objectives[0]


def test_the_objective_equals_the_dense_formula() -> None:
    rows = _rows()
    config = AlsConfig(rank=6, iterations=3, unobserved_weight=0.2, frequency_exponent=0.7)
    model = alternating_least_squares(rows, ITEMS, config, 1, LOCAL)
    expected = _dense_objective(model, rows, config)
    np.testing.assert_allclose(als_objective(model, rows), expected, rtol=1e-5)


def test_items_reach_the_solution_of_their_normal_equations() -> None:
    rows = _rows()
    config = AlsConfig(
        rank=4,
        iterations=200,
        unobserved_weight=0.2,
        regularisation=0.1,
        solver="cholesky",
        conjugate_gradient_steps=8,
    )
    model = alternating_least_squares(rows, ITEMS, config, 1, LOCAL)
    users = project(model, rows).astype(np.float64)
    weights = rows.to_scipy(ITEMS).toarray().astype(np.float64)
    active = (weights.sum(axis=1) > 0).sum()
    for item in (0, 11, 39):
        observed = weights[:, item] > 0
        penalty = 0.1 * (observed.sum() + 0.2 * active)
        left = users.T @ np.diag(0.2 + weights[:, item]) @ users + penalty * np.eye(4)
        expected = np.linalg.solve(left, users.T @ ((weights[:, item] + 0.2) * observed))
        np.testing.assert_allclose(model.factors[item], expected, atol=2e-3)


def test_explicit_ratings_of_low_rank_are_recovered() -> None:
    generator = np.random.default_rng(0)
    ratings = 3.0 + generator.standard_normal((USERS, 2)) @ generator.standard_normal((2, ITEMS))
    observed = generator.random((USERS, ITEMS)) < 0.7
    kept = np.where(observed, np.maximum(ratings, 0.01), 0.0).astype(np.float32)
    rows = rows_from_scipy(sp.csr_matrix(kept))
    config = AlsConfig(
        rank=4, iterations=40, feedback="explicit", regularisation=0.01, solver="cholesky"
    )
    model = alternating_least_squares(rows, ITEMS, config, 1, LOCAL)
    predicted = project(model, rows) @ model.factors.T + model.parameters["mean_rating"]
    hidden = ~observed & (ratings > 0.5)
    assert np.sqrt(np.mean((predicted - ratings)[hidden] ** 2)) < 0.4 * ratings[hidden].std()


def test_the_weight_of_the_unobserved_falls_with_the_number_of_items() -> None:
    config = AlsConfig(rank=2, iterations=1, unobserved_total=78.0)
    model = alternating_least_squares(_rows(), ITEMS, config, 1, LOCAL)
    # One of the items has no interaction.
    assert model.parameters["unobserved_weight"] == 78.0 / (ITEMS - 1)


def test_the_weight_of_the_unobserved_counts_items_that_only_a_term_has() -> None:
    config = AlsConfig(rank=2, iterations=1, unobserved_total=78.0)
    ones = np.ones(2, np.float32)
    # A row of a term with the item that nobody has.
    term = Rows(np.array([-1]), np.array([0, 2]), np.array([4, 5], np.int32), ones)
    rows = concatenate_rows([term, _rows()])
    model = alternating_least_squares(rows, ITEMS, config, 1, LOCAL)
    assert model.parameters["unobserved_weight"] == 78.0 / ITEMS


def test_items_that_a_lake_has_had_once_change_nothing() -> None:
    config = AlsConfig(rank=4, iterations=3)
    now, with_others = (
        alternating_least_squares(_rows(), items, config, 1, LOCAL) for items in (ITEMS, 50 * ITEMS)
    )
    assert now.parameters == with_others.parameters
    assert not with_others.factors[ITEMS:].any()


def test_new_items_of_new_users_alone_get_factors_from_earlier_ones() -> None:
    two_markets = sp.block_diag([np.ones((5, 4)), np.ones((5, 3))]).tocsr().astype(np.float32)
    rows = rows_from_scipy(two_markets)
    config = AlsConfig(rank=3, iterations=4, unobserved_total=1.0)
    initial = np.zeros((7, 3), np.float32)
    initial[:4] = 0.5
    model = alternating_least_squares(rows, 7, config, 1, LOCAL, initial=initial)
    assert (np.linalg.norm(model.factors[4:], axis=1) > 0.1).all()


def test_weights_that_are_too_large_are_named() -> None:
    weights = np.full((9, 4), 1e15, np.float32)
    weights[0, 0] = 0.0
    with pytest.raises(DataError, match=r"one is 1e\+15; set interactions\.weighting: log"):
        alternating_least_squares(
            rows_from_scipy(sp.csr_matrix(weights)), 4, AlsConfig(rank=2), 1, LOCAL
        )


def test_items_that_nobody_has_get_zero_factors() -> None:
    model = alternating_least_squares(_rows(), ITEMS, AlsConfig(rank=4, iterations=2), 1, LOCAL)
    assert model.interaction_counts[5] == 0
    assert not model.factors[5].any()
    assert np.isfinite(model.factors).all()


@pytest.mark.parametrize("users", [0, 1, 3])
def test_a_single_item_has_a_model(users: int) -> None:
    rows = rows_from_scipy(sp.csr_matrix(np.ones((users, 1), np.float32)))
    model = alternating_least_squares(
        rows, 1, AlsConfig(rank=3, iterations=3, unobserved_total=1.0), 1, LOCAL
    )
    assert model.factors.shape == (1, 3)
    assert np.isfinite(model.factors).all()
    assert (project(model, rows) @ model.factors.T > 0).all()


def test_a_run_that_is_stopped_resumes_as_if_it_never_had_been() -> None:
    rows = _rows()
    config = AlsConfig(rank=6, iterations=7, checkpoint_every=2, unobserved_total=10.0)
    saved: list[tuple[int, Float32]] = []

    def stop_at_the_second(iteration: int, factors: Float32) -> None:
        saved.append((iteration, factors))
        if len(saved) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alternating_least_squares(rows, ITEMS, config, 1, LOCAL, stop_at_the_second)
    assert saved[-1][0] == 4
    resumed = alternating_least_squares(rows, ITEMS, config, 1, LOCAL, start=saved[-1])
    whole = alternating_least_squares(rows, ITEMS, config, 1, LOCAL)
    np.testing.assert_allclose(resumed.factors, whole.factors, atol=1e-6)


def test_from_earlier_factors_few_iterations_are_as_good_as_many_from_none() -> None:
    rows = _rows()
    config = AlsConfig(rank=6, iterations=24, unobserved_total=10.0)
    earlier = alternating_least_squares(rows, ITEMS, config, 1, LOCAL)
    # An item that the earlier training did not know, and one that nobody has any more.
    initial = earlier.factors.copy()
    initial[9], initial[5] = 0.0, 1.0
    few = config.model_copy(update={"iterations": 2})
    model = alternating_least_squares(rows, ITEMS, few, 1, LOCAL, initial=initial)
    cold = alternating_least_squares(rows, ITEMS, few, 1, LOCAL)
    losses = [als_objective(one, rows) for one in (earlier, model, cold)]
    assert losses[1] < losses[0] * 1.002 < losses[2]
    assert not model.factors[5].any()
    others = np.delete(np.arange(ITEMS), [5, 9])
    cosines = (model.factors * earlier.factors).sum(axis=1)[others] / (
        np.linalg.norm(model.factors, axis=1) * np.linalg.norm(earlier.factors, axis=1)
    )[others]
    assert cosines.min() > 0.95
