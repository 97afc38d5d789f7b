"""Describe users and items by who rates what, whatever the ratings are.

People rate what they choose to see. So the binary matrix tells more about a pair of items than the
few ratings that they share (Koren 2008, "Factorization meets the neighborhood", on implicit
feedback). The matrix's leading singular vectors give each item and each user a place. Regressions
of ratings on these places are small convex problems: a user's *taste* is a regression over the
places of items, and an item's *audience* is one over the places of users.
"""

from dataclasses import dataclass

import numpy as np

from m6rec.config.models import SvdConfig
from m6rec.kernels.arrays.communicator import Communicator
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Float64, Int64, Rows
from m6rec.kernels.arrays.sparse_products import entries_by_item, gather_rows
from m6rec.kernels.factors.least_squares import add_sparse_terms, descend, solve_rows, start_descent
from m6rec.kernels.factors.svd import randomized_svd

# A singular value below this share of the largest is a rounding error.
_NEGLIGIBLE = 1e-5


@dataclass(frozen=True)
class ChoiceVectors:
    """The places of items and users in the binary matrix A = D_u^-a P D_i^-b = U S V^T.

    Coordinate k of V, and of U, is scaled so that its mean square over all ratings is
    (s_k / s_0)^2. So a regularisation means the same for any number of items and users.

    Attributes:
        items: float32 [M, k].
        projection: float32 [M, k]; a user's place is |I_u|^-a times the sum over the user's items.
        user_exponent: a.
    """

    items: Float32
    projection: Float32
    user_exponent: float

    def of_users(self, rows: Rows) -> Float32:
        """float32 [n, k]: each user's place; zeros for a row without ratings."""
        return _gathered(rows, self.projection, self.user_exponent)


def choice_vectors(
    rows: Rows, n_items: int, config: SvdConfig, seed: int, communicator: Communicator
) -> ChoiceVectors:
    """Compute the choice vectors from the rows of all ranks; every rank returns the same.

    Args:
        rows: this rank's users; the weights are not read.
        n_items: M, the same on all ranks.
        config: of the SVD.
        seed: of the SVD.
        communicator: the group; all ranks call this together.
    """
    ones = np.ones(rows.entries, np.float32)
    binary = Rows(rows.user_index, rows.indptr, rows.item_indices, ones)
    result = randomized_svd(binary, n_items, config, seed, communicator)
    values = result.singular_values
    kept = values > _NEGLIGIBLE * values[0]
    relative = np.where(kept, values, 0.0) / (values[0] if kept.any() else 1.0)
    inverse = np.where(kept, 1.0, 0.0) / np.where(kept, values, 1.0)
    vectors = result.item_vectors.astype(np.float64)
    items = vectors * _scale(result.item_counts @ vectors**2, result.item_counts.sum(), relative)
    scaled = vectors * inverse * np.maximum(result.item_counts, 1)[:, None] ** -config.item_exponent
    users = _gathered(rows, scaled.astype(np.float32), config.user_exponent).astype(np.float64)
    squares = rows.counts @ users**2
    communicator.all_reduce(squares)
    projection = scaled * _scale(squares, result.item_counts.sum(), relative)
    return ChoiceVectors(
        items.astype(np.float32), projection.astype(np.float32), config.user_exponent
    )


def user_tastes(residuals: Rows, items: Float32, regularisation: float) -> Float32:
    """float32 [n, k]: t_u minimises sum_i (e_ui - t_u . v_i)^2 + lambda |t_u|^2 over the row.

    Args:
        residuals: ratings less their biases.
        items: float32 [M, k]; v.
        regularisation: lambda, positive.
    """
    width = items.shape[1]
    tastes = np.zeros((len(residuals), width), np.float32)
    solve_rows(
        *read_only(residuals.indptr, residuals.item_indices),
        *read_only(np.ones(residuals.entries, np.float32), residuals.weights),
        *read_only(np.full(len(residuals), regularisation, np.float32)),
        *read_only(np.zeros((width, width), np.float32), items),
        0,
        tastes,
    )
    return tastes


def item_audiences(
    residuals: Rows,
    n_items: int,
    users: Float32,
    regularisation: float,
    communicator: Communicator,
) -> Float32:
    """float32 [M, k]: a_i minimises sum_u (e_ui - a_i . q_u)^2 + lambda |a_i|^2 over all ranks.

    Conjugate gradient advances all items together. After k steps each is solved, and each step
    reduces only M x k numbers over the ranks.

    Args:
        residuals: ratings less their biases, of this rank's users.
        n_items: M.
        users: float32 [n, k]; q.
        regularisation: lambda, positive.
        communicator: the group; all ranks call this together.
    """
    width = users.shape[1]
    indptr, rows, positions = entries_by_item(residuals, n_items)
    right_hand_side = residuals.weights[positions]
    confidence = np.ones(residuals.entries, np.float32)
    # Lambda must enter once over all ranks, so only rank 0 adds it.
    own = regularisation if communicator.rank == 0 else 0.0
    penalty = np.full(n_items, own, np.float32)
    audiences: Float32 = np.zeros((n_items, width), np.float32)
    work: Float32 = np.zeros((3, n_items, width), np.float32)
    residual, directions, products = work
    lengths = np.zeros(n_items, np.float32)

    def apply(scales: tuple[float, float], inputs: Float32, outputs: Float32) -> None:
        outputs[:] = 0.0
        equations = read_only(indptr, rows, confidence, right_hand_side, penalty)
        right_hand_side_scale, matrix_scale = np.float32(scales[0]), np.float32(scales[1])
        vectors = read_only(users, inputs)
        add_sparse_terms(*equations, right_hand_side_scale, matrix_scale, *vectors, outputs)
        communicator.all_reduce(outputs)

    apply((1.0, -1.0), audiences, residual)
    start_descent(residual, directions, lengths)
    for _ in range(width):
        apply((0.0, 1.0), directions, products)
        descend(products, audiences, residual, directions, lengths)
    return audiences


def _gathered(rows: Rows, vectors: Float32, exponent: float) -> Float32:
    scales = np.maximum(rows.counts, 1).astype(np.float64) ** -exponent
    values = np.repeat(scales, rows.counts).astype(np.float32)
    places = np.zeros((len(rows), vectors.shape[1]), np.float32)
    gather_rows(*read_only(rows.indptr, rows.item_indices, values, vectors), places)
    return places


def _scale(squares: Float64, ratings: Int64, relative: Float64) -> Float64:
    """The factors that give coordinates with these sums of squares the mean square relative^2."""
    mean_squares = squares / np.maximum(ratings, 1)
    roots: Float64 = np.sqrt(np.where(mean_squares > 0.0, mean_squares, 1.0))
    return relative / roots
