"""Reduce many features to their principal components (Jolliffe 2002, chapter 2)."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.arrays.standardisation import Standardisation, clipped


@dataclass(frozen=True)
class Reduction:
    """The directions in which features vary most, and by how much.

    Attributes:
        directions: float64 [features, k]; orthonormal, those of the largest variance first.
        scale: of the components.
    """

    directions: Float64
    scale: Standardisation

    def of(self, features: Float64, clip: float) -> Float64:
        """float64 [n, k]: the components of features [n, features], standardised and clipped."""
        return clipped(self.scale.of(features @ self.directions), clip)


def with_positive_peaks(axes: Float64) -> Float64:
    """Of the two directions of each axis, a column, the one whose largest entry is positive.

    A sign of their own makes axes the same wherever they are computed.
    """
    peaks = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None, :], axis=0)
    signed: Float64 = axes * np.where(peaks < 0, -1.0, 1.0)
    return signed


def turn_between(axes: Float64, before: Float64) -> Float64:
    """What turns coordinates along some axes into those along earlier axes of the same space.

    The turn T has the least ||axes T - before||, so that less is left of an earlier axis the less
    of it the axes span.

    Args:
        axes: float64 [d, k].
        before: float64 [d, r].

    Returns:
        float64 [k, r].
    """
    turn: Float64 = np.linalg.pinv(axes.T @ axes, hermitian=True) @ (axes.T @ before)
    return turn


def principal_components(features: Float64, components: int) -> Reduction:
    """The leading eigenvectors of the features' covariance, (X - m)ᵀ (X - m) / (n - 1).

    Args:
        features: float64 [n, features]; at least two rows.
        components: at most as many as there are features.
    """
    means = features.mean(axis=0)
    centred = features - means
    covariance = centred.T @ centred / max(len(features) - 1, 1)
    last = len(covariance) - 1
    variances, directions = scipy.linalg.eigh(
        covariance, subset_by_index=(last - components + 1, last)
    )
    variances, directions = variances[::-1], with_positive_peaks(directions[:, ::-1])
    # Fewer rows than features leave directions in which nothing varies but by rounding.
    least = variances[0] * len(covariance) * np.finfo(np.float64).eps
    deviations = np.sqrt(np.where(variances > least, variances, 0.0))
    return Reduction(directions, Standardisation(means @ directions, deviations))
