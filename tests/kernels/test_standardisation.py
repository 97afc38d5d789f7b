import numpy as np

from m6rec.kernels.arrays.standardisation import Selection, Standardisation


def test_the_mean_becomes_zero_and_a_deviation_one() -> None:
    scales = Standardisation(np.array([10.0, -1.0]), np.array([2.0, 0.5]))
    assert scales.of(np.array([[10.0, -1.0], [14.0, 0.0]])).tolist() == [[0.0, 0.0], [2.0, 2.0]]


def test_a_column_without_spread_is_zero() -> None:
    scales = Standardisation(np.array([3.0]), np.array([0.0]))
    assert not scales.of(np.array([[3.0], [7.0]])).any()


def test_kept_features_are_standardised_clipped_and_zero_without_attributes() -> None:
    scales = Standardisation(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    selection = Selection(np.array([0, 2]), scales, described=1, clip=3.0)
    raw = np.array([[2.0, 99.0, 3.0], [50.0, 99.0, -50.0], [2.0, 99.0, 3.0]], np.float32)
    known = np.array([True, True, False])
    assert selection.of(raw, known).tolist() == [[2.0, 1.0], [3.0, -3.0], [0.0, 1.0]]
