"""Randomized SVD of the degree-normalised matrix, distributed over user rows.

A = D_u^-a P D_i^-b. A random basis of M x r is multiplied by A^T A, orthonormalised, and so on
(Halko, Martinsson, Tropp 2011, algorithm 4.4 on the item side); at the end Rayleigh-Ritz in the
basis gives singular values and right singular vectors. After the first passes a Chebyshev
polynomial of A^T A takes the place of its power (Zhou, Saad, Tiago, Chelikowsky 2006): small on
what lies below the basis, it separates the rest far faster for the same passes.
Users never leave their rank: one sweep over the rows yields A^T (A Q), and only M x r numbers are
reduced.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg as sl

from m6rec.config import SvdConfig
from m6rec.kernels.communicator import Communicator, all_sum
from m6rec.kernels.projection import FactorModel, build_factor_model
from m6rec.kernels.rows import Float32, Float64, Int64, Rows
from m6rec.kernels.sparse_products import (
    add_gram_product,
    count_items,
    popularity_order,
    share_of,
)

# Columns that a sweep takes at once: M x 64 float32 of some ten thousand items stay in cache.
_COLUMNS_PER_SWEEP = 64
# Powers before the basis is near enough to tell where the spectrum below it starts.
_PLAIN_PASSES = 2
# A smallest Ritz value this much below the largest is rounding.
_NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class SvdResult:
    """The leading part of a singular value decomposition, the same on all ranks.

    Attributes:
        singular_values: float64 [k], descending.
        item_vectors: float32 [M, k]; right singular vectors, the largest entry of each positive.
        item_counts: int64 [M]; rows that hold each item.
    """

    singular_values: Float64
    item_vectors: Float32
    item_counts: Int64


def randomized_svd(
    rows: Rows, n_items: int, config: SvdConfig, seed: int, communicator: Communicator
) -> SvdResult:
    """The leading singular values and item vectors of D_u^-a P D_i^-b over the rows of all ranks.

    Args:
        rows: this rank's users.
        n_items: M, the same on all ranks.
        config: rank, oversampling, power passes and exponents. The rank is lowered to what the
            matrix can have, min(M, N) - 1 and at least 1.
        seed: of the starting basis, which does not depend on the number of ranks.
        communicator: the group; all ranks call this together.
    """
    counts = count_items(rows, n_items)
    communicator.all_reduce(counts)
    n_users = int(all_sum(communicator, np.count_nonzero(rows.counts)))
    order, place = popularity_order(counts)
    matrix = _normalise(rows, counts, place, config)
    smaller = min(n_items, n_users)
    rank = max(1, min(config.rank, smaller - 1))
    width = min(rank + config.oversampling, smaller) if smaller else 1
    generator = np.random.default_rng(seed)
    basis = generator.standard_normal((n_items, width), dtype=np.float32)[order]
    basis = _iterate(matrix, basis, config.power_passes, communicator)
    values, vectors = _rayleigh_ritz(basis, _sweep(matrix, basis, communicator), rank)
    return SvdResult(values, _fix_signs(vectors[place]), counts)


def svd_factor_model(result: SvdResult, config: SvdConfig) -> FactorModel:
    """The factor model of a decomposition.

    With f = diag((s / s_0)^spectrum_power): factors = V f, projection = D_i^-b V f and scales
    d_i^b, so that score_uj = (P_u D_i^-b V f) . (V f)_j d_j^b. The row's own scaling D_u^-a would
    not change a user's order and is left out. Items that nobody has get a zero factor and scale 1.
    """
    values = result.singular_values
    relative = values / values[0] if values[0] > 0 else np.zeros_like(values)
    spectrum = np.where(relative > 0, relative, 0.0) ** config.spectrum_power * (relative > 0)
    known = result.item_counts > 0
    factors = result.item_vectors * spectrum.astype(np.float32) * known[:, None]
    scales = np.where(known, result.item_counts, 1).astype(np.float64) ** config.item_exponent
    parameters = {
        "user_exponent": config.user_exponent,
        "item_exponent": config.item_exponent,
        "spectrum_power": config.spectrum_power,
        "largest_singular_value": float(values[0]),
        "smallest_singular_value": float(values[-1]),
    }
    return build_factor_model(
        "svd",
        factors.astype(np.float32),
        (factors / scales[:, None]).astype(np.float32),
        scales.astype(np.float32),
        parameters,
        result.item_counts,
    )


def _normalise(rows: Rows, counts: Int64, place: npt.NDArray[np.int32], config: SvdConfig) -> Rows:
    """D_u^-a P D_i^-b with items numbered by frequency."""
    user_scale = np.maximum(rows.counts, 1) ** -config.user_exponent
    item_scale = np.maximum(counts, 1) ** -config.item_exponent
    scale = np.repeat(user_scale, rows.counts) * item_scale[rows.item_indices]
    return Rows(
        rows.user_index,
        rows.offsets,
        place[rows.item_indices],
        (rows.weights * scale).astype(np.float32),
    )


def _sweep(matrix: Rows, basis: Float32, communicator: Communicator) -> Float32:
    """A^T (A basis) over all ranks, float32 [M, r], a tile of columns at a time."""
    output = np.empty_like(basis)
    for start in range(0, basis.shape[1], _COLUMNS_PER_SWEEP):
        columns = slice(start, start + _COLUMNS_PER_SWEEP)
        tile = np.ascontiguousarray(basis[:, columns])
        product = np.zeros_like(tile)
        add_gram_product(matrix.offsets, matrix.item_indices, matrix.weights, tile, product)
        communicator.all_reduce(product)
        output[:, columns] = product
    return output


def _iterate(matrix: Rows, basis: Float32, passes: int, communicator: Communicator) -> Float32:
    """An orthonormal basis near the leading right singular vectors, after so many sweeps.

    The Chebyshev recurrence on [0, c], Y_j+1 = (4 A^T A / c - 2) Y_j - Y_j-1, is kept within
    float32 by multiplying both Y with the same triangle from the right, which changes no span.
    """
    previous: Float32 | None = None
    cut = 0.0
    for done in range(passes):
        image = _sweep(matrix, basis, communicator)
        if done == _PLAIN_PASSES:
            cut = _smallest_ritz_value(basis, image)
        if cut > 0.0:
            image *= np.float32((2.0 if previous is None else 4.0) / cut)
            image -= basis if previous is None else 2 * basis + previous
        inverse = _inverse_triangle(image, communicator)
        if inverse is None:
            previous, cut, basis = None, 0.0, _householder(image)
            continue
        previous = basis @ inverse if cut > 0.0 else None
        basis = image @ inverse
    return _orthonormalise(basis, communicator)


def _smallest_ritz_value(basis: Float32, image: Float32) -> float:
    """Where the spectrum below an orthonormal basis starts, or 0 where nothing is below it."""
    values = np.linalg.eigvalsh((basis.T @ image).astype(np.float64))
    return float(values[0]) if values[0] > _NEGLIGIBLE * values[-1] else 0.0


def _orthonormalise(matrix: Float32, communicator: Communicator) -> Float32:
    # Cholesky QR once leaves rounding times the square of the condition, twice rounding alone
    # (Yamamoto et al. 2015).
    for _ in range(2):
        inverse = _inverse_triangle(matrix, communicator)
        if inverse is None:
            return _householder(matrix)
        matrix = matrix @ inverse
    return matrix


def _inverse_triangle(matrix: Float32, communicator: Communicator) -> Float32 | None:
    """R^-1 with X^T X = R^T R, so that X R^-1 is orthonormal; float32 [r, r].

    None, on all ranks, where columns depend on each other.
    """
    gram = _gram(matrix, communicator)
    scale = np.sqrt(np.diag(gram))
    scale[scale == 0.0] = 1.0
    try:
        triangle = np.linalg.cholesky(gram / np.outer(scale, scale)).T
    except np.linalg.LinAlgError:
        return None
    inverse = sl.solve_triangular(triangle, np.eye(len(triangle))) / scale[:, None]
    return np.ascontiguousarray(inverse, np.float32)


def _householder(matrix: Float32) -> Float32:
    return np.linalg.qr(matrix.astype(np.float64))[0].astype(np.float32)


def _gram(matrix: Float32, communicator: Communicator) -> Float64:
    # Each rank multiplies its part of the items, half of it by symmetry.
    part = matrix[share_of(len(matrix), communicator.rank, communicator.size)]
    lower = sl.blas.ssyrk(1.0, part.T, lower=1) if len(part) else _zeros(matrix.shape[1])
    gram = np.ascontiguousarray(lower, np.float64)
    gram += np.tril(gram, -1).T
    communicator.all_reduce(gram)
    return gram


def _zeros(width: int) -> Float32:
    return np.zeros((width, width), np.float32)


def _rayleigh_ritz(basis: Float32, image: Float32, rank: int) -> tuple[Float64, Float32]:
    # Q^T A^T A Q = W diag(s^2) W^T; V = Q W.
    projected = (basis.T @ image).astype(np.float64)
    squares, rotation = np.linalg.eigh((projected + projected.T) / 2)
    leading = slice(None, -rank - 1, -1)
    values = np.sqrt(np.maximum(squares[leading], 0.0))
    vectors: Float32 = basis @ np.ascontiguousarray(rotation[:, leading], np.float32)
    return values, vectors


def _fix_signs(vectors: Float32) -> Float32:
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return vectors * np.where(signs == 0, 1, signs).astype(np.float32)
