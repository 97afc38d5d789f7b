"""The randomized SVD against SciPy's, and the factor model made of it."""

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.config.models import SvdConfig
from m6rec.kernels.arrays.communicator import LocalCommunicator
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.factors.projection import project
from m6rec.kernels.factors.svd import SvdResult, randomized_svd, svd_factor_model
from tests.matrix_rows import rows_from_scipy

USERS, ITEMS = 120, 80
LOCAL = LocalCommunicator()


def _rows() -> Rows:
    matrix = sp.random(USERS, ITEMS, 0.1, format="lil", random_state=3, dtype=np.float32)
    matrix[:, 5] = 0
    matrix[7, :] = 0
    matrix[8, :] = 1.0
    matrix[:, 5] = 0
    return rows_from_scipy(matrix.tocsr())


def _normalised(rows: Rows, config: SvdConfig) -> np.ndarray:
    dense = rows.to_scipy(ITEMS).toarray().astype(np.float64)
    users, items = (dense > 0).sum(axis=1), (dense > 0).sum(axis=0)
    left = np.maximum(users, 1.0) ** -config.user_exponent
    return left[:, None] * dense * np.maximum(items, 1.0) ** -config.item_exponent


def test_singular_values_and_subspace_equal_a_dense_decomposition() -> None:
    rows, config = _rows(), SvdConfig(rank=10, oversampling=20, power_passes=8)
    result = randomized_svd(rows, ITEMS, config, 1, LOCAL)
    _, values, right = np.linalg.svd(_normalised(rows, config))
    np.testing.assert_allclose(result.singular_values, values[:10], rtol=1e-3)
    cosines = np.abs(np.einsum("ij,ji->i", right[:5], result.item_vectors[:, :5]))
    np.testing.assert_allclose(cosines, 1.0, atol=2e-3)


def test_exact_values_of_the_leading_half_equal_a_dense_decomposition() -> None:
    rows = rows_from_scipy(sp.random(400, 300, 0.05, "csr", np.float32, random_state=2))
    config = SvdConfig(rank=64, exact=True)
    dense = (rows.to_scipy(300).toarray() > 0) * rows.to_scipy(300).toarray().astype(np.float64)
    left = np.maximum((dense > 0).sum(axis=1), 1.0) ** -config.user_exponent
    right = np.maximum((dense > 0).sum(axis=0), 1.0) ** -config.item_exponent
    expected = np.linalg.svd(left[:, None] * dense * right, compute_uv=False)
    found = randomized_svd(rows, 300, config, 1, LOCAL)
    np.testing.assert_allclose(found.singular_values[:32], expected[:32], rtol=1e-3)
    assert (found.singular_values[32:] <= expected[32:64] * (1 + 1e-5)).all()
    assert (found.singular_values[32:] > 0.8 * expected[32:64]).all()


@pytest.mark.parametrize(("users", "items"), [(40, 400), (100, 2000)])
def test_with_fewer_users_than_items_exact_values_are_right_as_well(users: int, items: int) -> None:
    matrix = sp.random(users, items, 0.05, "csr", np.float32, random_state=2)
    config = SvdConfig(exact=True, user_exponent=0.0, item_exponent=0.0)
    found = randomized_svd(rows_from_scipy(matrix), items, config, 1, LOCAL).singular_values
    expected = np.linalg.svd(matrix.toarray(), compute_uv=False)
    np.testing.assert_allclose(found, expected[: users - 1], rtol=1e-3)


def test_a_matrix_of_lower_rank_than_asked_for_has_zeros_beyond_it() -> None:
    dense = np.kron(np.eye(5), np.ones((12, 30))).astype(np.float32)
    found = randomized_svd(
        rows_from_scipy(sp.csr_matrix(dense)), 150, SvdConfig(rank=50, exact=True), 1, LOCAL
    )
    block = np.linalg.norm(np.ones((12, 30)) * 30.0**-0.5 * 12.0**-0.3)
    np.testing.assert_allclose(found.singular_values[:5], block, rtol=1e-5)
    assert (found.singular_values[5:] < 1e-3 * block).all()
    vectors = found.item_vectors
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(50), atol=1e-4)


def test_item_vectors_are_orthonormal_with_their_largest_entry_positive() -> None:
    vectors = randomized_svd(_rows(), ITEMS, SvdConfig(rank=12, exact=True), 1, LOCAL).item_vectors
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(12), atol=1e-5)
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(12)] > 0).all()


def test_the_rank_is_lowered_to_what_small_data_has() -> None:
    result = randomized_svd(_rows(), ITEMS, SvdConfig(rank=500, exact=True), 1, LOCAL)
    assert result.item_vectors.shape == (ITEMS, ITEMS - 1)
    assert np.isfinite(result.item_vectors).all()


@pytest.mark.parametrize("users", [1, 3])
def test_a_single_item_has_a_model(users: int) -> None:
    rows = rows_from_scipy(sp.csr_matrix(np.ones((users, 1), np.float32)))
    config = SvdConfig(rank=8, exact=True)
    model = svd_factor_model(randomized_svd(rows, 1, config, 1, LOCAL), config)
    assert model.factors.shape == (1, 1)
    assert (project(model, rows) @ model.factors.T > 0).all()


def test_no_rows_at_all_give_zero_factors() -> None:
    rows, config = _rows().slice(0, 0), SvdConfig(rank=8, exact=True)
    model = svd_factor_model(randomized_svd(rows, ITEMS, config, 1, LOCAL), config)
    assert not model.factors.any()
    assert np.isfinite(model.factors).all()


def test_dependent_columns_fall_back_to_householder() -> None:
    one = np.ones((40, 1), np.float32) @ np.ones((1, 30), np.float32)
    result = randomized_svd(
        rows_from_scipy(sp.csr_matrix(one)),
        30,
        SvdConfig(rank=4, exact=True),
        1,
        LOCAL,
    )
    expected = np.linalg.norm(one * 30.0**-0.5 * 40.0**-0.3)
    np.testing.assert_allclose(result.singular_values[0], expected, rtol=1e-5)
    assert (result.singular_values[1:] < 1e-2 * expected).all()


def test_scores_are_the_spectrally_weighted_filter() -> None:
    rows = _rows()
    config = SvdConfig(rank=20, spectrum_power=0.5, oversampling=60)
    result = randomized_svd(rows, ITEMS, config, 1, LOCAL)
    model = svd_factor_model(result, config)
    scores = project(model, rows) @ model.factors.T * model.scales
    degrees = np.maximum(result.item_counts, 1.0) ** 0.3
    spectrum = (result.singular_values / result.singular_values[0]) ** (2 * 0.5)
    filtered = result.item_vectors * spectrum @ result.item_vectors.T
    expected = rows.to_scipy(ITEMS).toarray() / degrees @ filtered * degrees
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_items_that_nobody_has_get_zero_factors_and_scale_one() -> None:
    config = SvdConfig(rank=10, exact=True)
    model = svd_factor_model(randomized_svd(_rows(), ITEMS, config, 1, LOCAL), config)
    assert model.interaction_counts[5] == 0
    assert not model.factors[5].any()
    assert model.projection is not None and not model.projection[5].any()
    assert model.scales[5] == 1.0


def test_the_same_seed_gives_the_same_bits_and_another_seed_the_same_answer() -> None:
    config = SvdConfig(rank=6, power_passes=8)
    first, again, other = (
        randomized_svd(_rows(), ITEMS, config, seed, LOCAL) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.item_vectors, again.item_vectors)
    np.testing.assert_allclose(first.singular_values, other.singular_values, rtol=1e-3)


def test_all_zero_spectrum_does_not_divide_by_zero() -> None:
    result = SvdResult(np.zeros(2), np.eye(4, 2, dtype=np.float32), np.ones(4, np.int64))
    assert not svd_factor_model(result, SvdConfig(rank=2, exact=True)).factors.any()
