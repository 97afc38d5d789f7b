"""Ratings: biases computed by hand, exact structure recovered, a blend that finds its weights."""

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.config.models import RatingsConfig, SvdConfig
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.ratings.choices import choice_vectors, item_audiences, user_tastes
from m6rec.kernels.ratings.rating_biases import fit_biases
from m6rec.kernels.ratings.ratings import (
    RATING_MEMBERS,
    blend_weights,
    fit_ratings,
    rating_parts,
)
from tests.matrix_rows import rows_from_scipy

LOCAL = LocalCommunicator()
USERS, ITEMS = 60, 40


def rows_of(ratings: np.ndarray, known: np.ndarray) -> Rows:
    """Rows of the known entries, zeros among them kept."""
    indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))]).astype(np.int64)
    items = np.nonzero(known)[1].astype(np.int32)
    return Rows(np.arange(len(known)), indptr, items, ratings[known].astype(np.float32))


def known_entries(seed: int = 1, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).random((USERS, ITEMS)) < share


def test_biases_are_those_computed_by_hand() -> None:
    # Mean 3. With lambda 1: b_0 = (2 + 0) / 3, b_1 = -2 / 2; then
    # b_ann = (2 - 2/3 - 2 + 1) / 3 = 1/9 and b_bob = (0 - 2/3) / 2 = -1/3.
    rows = rows_from_scipy(sp.csr_matrix(np.array([[5.0, 1.0, 0.0], [3.0, 0.0, 0.0]])))
    biases = fit_biases(rows, 3, 1.0, 1.0, 1, LOCAL)
    assert biases.mean == pytest.approx(3.0)
    np.testing.assert_allclose(biases.items, [2 / 3, -1.0, 0.0])
    np.testing.assert_allclose(biases.of_users(rows), [1 / 9, -1 / 3])


def test_ratings_that_are_sums_of_biases_leave_nothing() -> None:
    rng = np.random.default_rng(2)
    known = known_entries()
    ratings = 3.0 + rng.normal(size=(USERS, 1)) + rng.normal(size=(1, ITEMS))
    rows = rows_of(ratings, known)
    biases = fit_biases(rows, ITEMS, 1e-6, 1e-6, 200, LOCAL)
    left = biases.residuals(rows, biases.of_users(rows))
    np.testing.assert_allclose(left.weights, 0.0, atol=1e-4)


def test_choice_vectors_tell_two_audiences_apart() -> None:
    # Even users choose among the first half of the items, odd ones among the second.
    side = np.arange(USERS)[:, None] % 2 == (np.arange(ITEMS)[None] >= ITEMS // 2)
    rows = rows_of(np.ones((USERS, ITEMS)), side & known_entries())
    vectors = choice_vectors(rows, ITEMS, SvdConfig(rank=2), 1, LOCAL)
    users = vectors.of_users(rows)
    direction = np.array([1.0, -1.0]) @ [users[::2].mean(axis=0), users[1::2].mean(axis=0)]
    assert ((users @ direction > (users @ direction).mean()) == (np.arange(USERS) % 2 == 0)).all()
    places = vectors.items @ direction
    assert ((places > places.mean()) == (np.arange(ITEMS) < ITEMS // 2)).all()


def test_choice_vectors_have_the_mean_square_of_their_singular_values() -> None:
    rows = rows_of(np.ones((USERS, ITEMS)), known_entries())
    config = SvdConfig(rank=5, user_exponent=0.25)
    vectors = choice_vectors(rows, ITEMS, config, 1, LOCAL)
    dense = np.zeros((USERS, ITEMS))
    dense[np.repeat(np.arange(USERS), rows.counts), rows.item_indices] = 1.0
    normalised = dense / dense.sum(1)[:, None] ** 0.25 / dense.sum(0) ** config.item_exponent
    values = np.linalg.svd(normalised, compute_uv=False)[:5]
    over_items = dense.sum(0) @ vectors.items.astype(float) ** 2 / dense.sum()
    over_users = dense.sum(1) @ vectors.of_users(rows).astype(float) ** 2 / dense.sum()
    np.testing.assert_allclose(over_items, (values / values[0]) ** 2, rtol=1e-3)
    np.testing.assert_allclose(over_users, (values / values[0]) ** 2, rtol=1e-3)


def test_tastes_and_audiences_solve_their_ridge_regressions() -> None:
    rng = np.random.default_rng(4)
    known = known_entries(share=0.3)
    ratings = rng.normal(size=(USERS, ITEMS))
    rows = rows_of(ratings, known)
    items, users = rng.normal(size=(2, max(USERS, ITEMS), 3)).astype(np.float32)
    items, users = items[:ITEMS], users[:USERS]
    tastes = user_tastes(rows, items, 2.0)
    audiences = item_audiences(rows, ITEMS, users, 3.0, LOCAL)
    chosen = items[known[5]].astype(float)
    expected = np.linalg.solve(chosen.T @ chosen + 2.0 * np.eye(3), chosen.T @ ratings[5, known[5]])
    np.testing.assert_allclose(tastes[5], expected, atol=1e-4)
    chosen = users[known[:, 7]].astype(float)
    expected = np.linalg.solve(
        chosen.T @ chosen + 3.0 * np.eye(3), chosen.T @ ratings[known[:, 7], 7]
    )
    np.testing.assert_allclose(audiences[7], expected, atol=1e-4)


def test_low_rank_ratings_are_recovered_where_they_were_not_seen() -> None:
    rng = np.random.default_rng(5)
    known = known_entries(share=0.7)
    ratings = 3.0 + rng.normal(size=(USERS, 2)) @ rng.normal(size=(2, ITEMS))
    rows = rows_of(ratings, known)
    # What the biases leave of rank 2 is of rank 4.
    config = RatingsConfig(
        rank=4, iterations=60, regularisation=1e-3, bias_iterations=30, choice_rank=2
    )
    model = fit_ratings(rows, ITEMS, config, 1, LOCAL)
    unseen = ~known
    indptr = np.concatenate([[0], np.cumsum(unseen.sum(axis=1))])
    parts = rating_parts(model, rows, indptr, np.nonzero(unseen)[1])
    assert parts.shape == (unseen.sum(), len(RATING_MEMBERS))
    by_bias = np.sqrt(np.mean((parts[:, 0] - ratings[unseen]) ** 2))
    by_als = np.sqrt(np.mean((parts[:, 0] + parts[:, 1] - ratings[unseen]) ** 2))
    assert by_bias > 1.0
    assert by_als < 0.1


def test_a_user_and_an_item_without_ratings_get_the_mean() -> None:
    known = known_entries()
    known[0], known[:, 0] = False, False
    rows = rows_of(np.full((USERS, ITEMS), 4.0), known)
    config = RatingsConfig(rank=2, choice_rank=2)
    model = fit_ratings(rows, ITEMS, config, 1, LOCAL)
    targets = np.zeros(USERS + 1, np.int64)
    targets[1:] = 1
    parts = rating_parts(model, rows, targets, np.zeros(1, np.int64))
    np.testing.assert_allclose(parts, [[4.0, 0.0, 0.0, 0.0]], atol=1e-6)


def test_the_blend_finds_its_weights_and_keeps_its_prior_without_ratings() -> None:
    parts = np.random.default_rng(6).normal(size=(5000, 4))
    weights = np.array([1.0, 0.5, 0.8, 0.2])
    found = blend_weights(parts.T @ parts, parts.T @ (parts @ weights))
    np.testing.assert_allclose(found, weights, atol=1e-3)
    nothing = blend_weights(np.zeros((4, 4)), np.zeros(4))
    np.testing.assert_allclose(nothing, [1.0, 1 / 3, 1 / 3, 1 / 3])
