"""Represent items and users by content vectors, which are made from attributes.

A user's profile is the weighted sum of the content vectors of the user's items. Where the history
is short, the profile is drawn towards the one that the user's own attributes predict.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from m6rec.errors import DataError
from m6rec.kernels.arrays.padding import padded_rows
from m6rec.kernels.arrays.principal_components import with_positive_peaks
from m6rec.kernels.arrays.rows import Float32, Float64, Rows

OVERSAMPLING = 32
POWER_PASSES = 4
PRIOR_COUNT = 2.0
"""How many interactions the prediction of a profile from attributes counts as."""


def unit_rows(matrix: Float32) -> Float32:
    """The rows scaled to length 1, float32 [n, d]; a zero row stays zero."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    scaled: Float32 = np.zeros(matrix.shape, dtype=np.float32)
    np.divide(matrix, lengths, out=scaled, where=lengths > 0)
    return scaled


def inverse_document_frequency(document_counts: Float64, documents: int) -> Float32:
    """log((1 + documents) / (1 + count)), float32 [v]; the smoothed form of Spark's IDF."""
    weights = np.log((1.0 + documents) / (1.0 + document_counts))
    return np.asarray(np.maximum(weights, 0.0), dtype=np.float32)


def tf_idf(counts: sp.csr_matrix, weights: Float32) -> sp.csr_matrix:
    """(1 + log count) * idf, scaled to rows of length 1 (Manning, Raghavan, Schuetze 2008, 6.4.1).

    Args:
        counts: csr [n, v]; positive term counts.
        weights: float32 [v]; the terms' inverse document frequencies.
    """
    matrix = counts.tocsr().astype(np.float32)
    values = (1.0 + np.log(matrix.data)) * weights[matrix.indices]
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    lengths = np.sqrt(np.bincount(row, weights=values * values, minlength=matrix.shape[0]))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return sp.csr_matrix(
        ((values * scale[row]).astype(np.float32), matrix.indices, matrix.indptr),
        shape=matrix.shape,
    )


def truncated_svd(matrix: sp.csr_matrix, rank: int, seed: int) -> tuple[Float32, Float32]:
    """The leading singular values and right singular vectors of a sparse matrix.

    This is the randomized range finder with power passes on the column side (Halko, Martinsson,
    Tropp 2011, algorithm 4.4). The sign of each vector makes its largest entry positive, so that a
    seed always gives the same answer.

    Returns:
        Singular values float32 [r], descending, and right vectors float32 [v, r] where
        r = min(rank, n, v).
    """
    n, width = matrix.shape
    kept = min(rank, n, width)
    if kept == 0:
        return np.zeros(0, np.float32), np.zeros((width, 0), np.float32)
    samples = min(kept + OVERSAMPLING, n, width)
    matrix = matrix.astype(np.float32)
    transposed = matrix.T.tocsr()
    draws = np.random.default_rng(seed).standard_normal((width, samples)).astype(np.float32)
    basis = _orthonormal(draws)
    for _ in range(POWER_PASSES):
        basis = _orthonormal(transposed @ (matrix @ basis))
    # The eigenvectors of AᵀA within the basis rotate it to the right singular vectors.
    image = (matrix @ basis).astype(np.float64)
    eigenvalues, rotation = np.linalg.eigh(image.T @ image)
    order = np.argsort(-eigenvalues, kind="stable")[:kept]
    vectors = with_positive_peaks(basis.astype(np.float64) @ rotation[:, order])
    singular_values = np.sqrt(np.maximum(eigenvalues[order], 0.0))
    return singular_values.astype(np.float32), vectors.astype(np.float32)


def content_profiles(rows: Rows, item_content: Float32) -> Float32:
    """What the items of each history have in common: normalise(Σ_i w_ui c_i).

    Args:
        rows: the histories.
        item_content: float32 [M, c]; items' content vectors.

    Returns:
        float32 [n, c]; length 1, or zero for a history without content.
    """
    matrix = replace(rows, weights=_near_one(rows)).to_scipy(item_content.shape[0])
    return unit_rows(np.asarray(matrix @ item_content, dtype=np.float32))


def _near_one(rows: Rows) -> Float32:
    """The weights, each row's times the power of two that brings its largest below 1.

    Old weights that have decayed are so small that their squares underflow. A power of two changes
    no other bit of a profile.
    """
    filled = rows.counts > 0
    if not filled.any():
        return rows.weights
    largest = np.maximum.reduceat(rows.weights, rows.indptr[:-1][filled])
    _, exponents = np.frexp(largest)
    near: Float32 = np.ldexp(rows.weights, -np.repeat(exponents, rows.counts[filled]))
    return near


@dataclass(frozen=True)
class ProfileSums:
    """The sums from which the regression of profiles on user attributes is solved.

    Sums over blocks of users add up, so each partition can compute its own.

    Attributes:
        gram: float64 [c_u, c_u]; Σ x xᵀ over users with both content and history.
        cross: float64 [c_u, c]; Σ x pᵀ.
        users: how many users were added.
    """

    gram: Float64
    cross: Float64
    users: int

    def __add__(self, other: "ProfileSums") -> "ProfileSums":
        return ProfileSums(
            self.gram + other.gram, self.cross + other.cross, self.users + other.users
        )


def profile_sums(profiles: Float32, user_content: Float32) -> ProfileSums:
    """The sums of one block of users: profiles float32 [n, c], user_content float32 [n, c_u]."""
    used = profiles.any(axis=1) & user_content.any(axis=1)
    attributes = user_content[used].astype(np.float64)
    return ProfileSums(
        attributes.T @ attributes,
        attributes.T @ profiles[used].astype(np.float64),
        int(used.sum()),
    )


def fit_profile_regression(sums: ProfileSums, regularisation: float = 10.0) -> Float32:
    """Ridge regression of profiles on user attributes: (Σ x xᵀ + λI)^-1 Σ x pᵀ, float32 [c_u, c].

    Raises:
        DataError: the regularisation is not positive, so the system may be singular.
    """
    if regularisation <= 0:
        raise DataError(f"profile regression needs regularisation > 0, found {regularisation}")
    width = sums.gram.shape[0]
    if width == 0:
        return np.zeros(sums.cross.shape, np.float32)
    system = sums.gram + regularisation * np.eye(width)
    solution = scipy.linalg.solve(system, sums.cross, assume_a="pos")
    return np.asarray(solution, dtype=np.float32)


@dataclass(frozen=True)
class ContentEncoder:
    """Users as content vectors, comparable with the items' by a dot product.

    Attributes:
        item_content: float32 [M, c]; at most unit length.
        regression: float32 [c_u, c] from `fit_profile_regression`; None predicts no profile.
    """

    item_content: Float32
    regression: Float32 | None = None

    def encode(self, rows: Rows, user_content: Float32 | None = None) -> Float32:
        """normalise((n h + κ p) / (n + κ)), where h is the history's profile, p the predicted one.

        Args:
            rows: the histories; n is the number of interactions.
            user_content: float32 [n, c_u], or None where users have no attributes.

        Returns:
            float32 [n, c]; length 1, or zero for users with neither history nor attributes.

        Raises:
            DataError: user_content has another number of rows or columns than expected.
        """
        profiles = content_profiles(rows, self.item_content)
        if self.regression is None or user_content is None:
            return profiles
        expected = (len(rows), self.regression.shape[0])
        if user_content.shape != expected:
            raise DataError(
                f"user content has shape {user_content.shape}, expected {expected}: use the"
                " features of the fit that the encoder was made from"
            )
        predicted = unit_rows((padded_rows(user_content) @ self.regression)[: len(rows)])
        count = rows.counts[:, None].astype(np.float32)
        # Dividing by (n + kappa) changes nothing once the length is 1.
        return unit_rows(count * profiles + np.float32(PRIOR_COUNT) * predicted)


def _orthonormal(matrix: Float32) -> Float32:
    q, _ = np.linalg.qr(matrix)
    return np.asarray(q, dtype=np.float32)
