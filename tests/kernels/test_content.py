from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Rows
from m6rec.kernels.neighbours.content import (
    ContentEncoder,
    content_profiles,
    fit_profile_regression,
    inverse_document_frequency,
    profile_sums,
    tf_idf,
    truncated_svd,
    unit_rows,
)
from tests.matrix_rows import rows_from_scipy


def test_truncated_svd_finds_the_singular_vectors_of_numpy() -> None:
    generator = np.random.default_rng(0)
    left = np.linalg.qr(generator.standard_normal((60, 20)))[0]
    right = np.linalg.qr(generator.standard_normal((40, 20)))[0]
    dense = (left * 2.0 ** -np.arange(20)) @ right.T
    values, vectors = truncated_svd(sp.csr_matrix(dense), 5, seed=1)
    np.testing.assert_allclose(values, 2.0 ** -np.arange(5), rtol=1e-3)
    np.testing.assert_allclose(np.abs((vectors * right[:, :5]).sum(axis=0)), 1.0, atol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-4)


def test_truncated_svd_is_bounded_by_the_matrix_and_repeats_with_its_seed() -> None:
    matrix = sp.random(7, 4, density=0.6, random_state=3, format="csr")
    first = truncated_svd(matrix, 50, seed=2)
    assert first[1].shape == (4, 4)
    np.testing.assert_array_equal(first[1], truncated_svd(matrix, 50, seed=2)[1])
    assert truncated_svd(sp.csr_matrix((0, 4)), 3, seed=0)[1].shape == (4, 0)


def test_tf_idf_weighs_by_log_count_and_rarity_and_has_unit_rows() -> None:
    weights = inverse_document_frequency(np.array([1.0, 3.0]), 3)
    np.testing.assert_allclose(weights, [np.log(2.0), 0.0], rtol=1e-6)
    counts = sp.csr_matrix(np.array([[np.e, 1.0], [0.0, 0.0]]))
    dense = tf_idf(counts, np.array([1.0, 2.0], dtype=np.float32)).toarray()
    np.testing.assert_allclose(dense[0], np.array([2.0, 2.0]) / np.sqrt(8.0), rtol=1e-6)
    np.testing.assert_array_equal(dense[1], 0.0)


def test_a_profile_is_the_direction_of_the_weighted_history() -> None:
    content = np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32)
    rows = rows_from_scipy(sp.csr_matrix(np.array([[3.0, 4.0, 1.0], [0, 0, 2.0], [0, 0, 0]])))
    np.testing.assert_allclose(
        content_profiles(rows, content), [[0.6, 0.8], [0, 0], [0, 0]], rtol=1e-6
    )


@pytest.mark.parametrize("exponent", [-100, -75, 60, 100])
def test_a_profile_rests_on_how_weights_compare_and_not_on_their_size(exponent: int) -> None:
    generator = np.random.default_rng(3)
    content = unit_rows(generator.standard_normal((20, 8)).astype(np.float32))
    weights = generator.uniform(0.5, 2.0, 9).astype(np.float32)
    rows = Rows(np.arange(4), np.array([0, 0, 5, 5, 9]), np.arange(3, 12, dtype=np.int32), weights)
    scaled = replace(rows, weights=np.ldexp(weights, exponent))
    profiles = content_profiles(rows, content)
    np.testing.assert_array_equal(content_profiles(scaled, content), profiles)
    lengths = np.linalg.norm(profiles, axis=1)
    np.testing.assert_allclose(lengths, [0.0, 1.0, 0.0, 1.0], rtol=1e-6)
    by_definition = [weights[:5] @ content[3:8], weights[5:] @ content[8:12]]
    np.testing.assert_allclose(
        profiles[[1, 3]], unit_rows(np.array(by_definition, np.float32)), rtol=1e-5, atol=1e-6
    )


def test_the_regression_is_the_ridge_solution_whatever_the_blocks() -> None:
    generator = np.random.default_rng(5)
    attributes = unit_rows(generator.standard_normal((200, 3)).astype(np.float32))
    profiles = unit_rows(generator.standard_normal((200, 4)).astype(np.float32))
    profiles[:20] = 0
    whole = profile_sums(profiles, attributes)
    parts = profile_sums(profiles[:90], attributes[:90]) + profile_sums(
        profiles[90:], attributes[90:]
    )
    assert whole.users == parts.users == 180
    used, answers = attributes[20:].astype(float), profiles[20:].astype(float)
    expected = np.linalg.solve(used.T @ used + 2.0 * np.eye(3), used.T @ answers)
    np.testing.assert_allclose(fit_profile_regression(parts, 2.0), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(DataError, match="regularisation"):
        fit_profile_regression(whole, 0.0)


def test_attributes_speak_for_a_new_user_and_fade_as_the_history_grows() -> None:
    content = np.eye(2, dtype=np.float32)
    encoder = ContentEncoder(content, np.array([[0.0, 5.0]], dtype=np.float32))
    histories = rows_from_scipy(sp.csr_matrix(np.array([[0.0, 0.0], [1.0, 0.0]])))
    encoded = encoder.encode(histories, np.ones((2, 1), dtype=np.float32))
    np.testing.assert_allclose(encoded[0], [0.0, 1.0])
    # One interaction against a prior worth two: (1 * [1, 0] + 2 * [0, 1]) / 3, normalised.
    np.testing.assert_allclose(encoded[1], np.array([1.0, 2.0]) / np.sqrt(5.0), rtol=1e-6)
    without = encoder.encode(histories)
    np.testing.assert_allclose(without, [[0.0, 0.0], [1.0, 0.0]])


def test_a_user_has_the_same_vector_whoever_is_encoded_beside() -> None:
    generator = np.random.default_rng(1)
    draw = generator.standard_normal
    encoder = ContentEncoder(
        unit_rows(draw((50, 24)).astype(np.float32)), draw((40, 24)).astype(np.float32)
    )
    attributes = unit_rows(draw((70, 40)).astype(np.float32))
    counts = generator.integers(0, 2, (70, 50)).astype(np.float64)
    together = encoder.encode(rows_from_scipy(sp.csr_matrix(counts)), attributes)
    # The first row stands at the first place of a block whichever kernel of BLAS is used.
    alone = encoder.encode(rows_from_scipy(sp.csr_matrix(counts[:1])), attributes[:1])
    np.testing.assert_array_equal(alone, together[:1])


def test_user_content_of_another_width_is_refused() -> None:
    encoder = ContentEncoder(np.eye(2, dtype=np.float32), np.ones((3, 2), dtype=np.float32))
    rows = rows_from_scipy(sp.csr_matrix(np.ones((1, 2))))
    with pytest.raises(DataError, match=r"\(1, 3\)"):
        encoder.encode(rows, np.ones((1, 2), dtype=np.float32))
