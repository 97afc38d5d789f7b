"""Many features become the few directions in which they vary most."""

import numpy as np

from m6rec.kernels.arrays.principal_components import principal_components

# Most of it varies along (3, 4) / 5, the rest across.
FEATURES = np.array([[3.0, 4.0], [-3.0, -4.0], [0.4, -0.3], [-0.4, 0.3]]) + [10.0, 20.0]


def test_the_first_component_is_where_features_vary_most() -> None:
    reduction = principal_components(FEATURES, 1)
    np.testing.assert_allclose(reduction.directions, [[0.6], [0.8]])
    np.testing.assert_allclose(reduction.scale.means, [22.0])
    np.testing.assert_allclose(reduction.scale.deviations**2, [50.0 / 3.0])
    found = reduction.of(FEATURES, clip=1.0)
    deviation = 5.0 / np.sqrt(50.0 / 3.0)
    assert deviation > 1.0
    np.testing.assert_allclose(found, [[1.0], [-1.0], [0.0], [0.0]], atol=1e-12)


def test_components_are_standardised_and_uncorrelated() -> None:
    features = np.random.default_rng(1).normal(size=(200, 5)) @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    found = principal_components(features, 3).of(features, clip=100.0)
    np.testing.assert_allclose(np.cov(found.T), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(found.mean(axis=0), 0.0, atol=1e-9)


def test_directions_beyond_the_rows_are_zero() -> None:
    found = principal_components(FEATURES[:2] @ np.eye(2, 4), 3).of(np.ones((1, 4)), clip=5.0)
    np.testing.assert_array_equal(found[:, 1:], 0.0)
