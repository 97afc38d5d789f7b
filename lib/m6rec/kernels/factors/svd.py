"""Randomized SVD of the degree-normalised matrix, distributed over user rows.

A = D_u^-a P D_i^-b. For factors, a random basis of M x r is multiplied by A^T A, orthonormalised,
and so on (Halko, Martinsson, Tropp 2011, algorithm 4.4 on the item side); at the end Rayleigh-Ritz
in the basis gives singular values and right singular vectors. For exact singular values, block
Lanczos on A^T A takes its place: many cheap sweeps of few columns instead of few of all.
Users never leave their rank: one sweep over the rows yields A^T (A Q), and only item-side numbers
are reduced.
"""

from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import numpy.typing as npt
import scipy.linalg as sl

from m6rec.config.models import SvdConfig
from m6rec.kernels.arrays.communicator import Communicator, all_sum
from m6rec.kernels.arrays.rows import Float32, Float64, Int64, Rows
from m6rec.kernels.arrays.sparse_products import (
    add_gram_product,
    count_items,
    popularity_order,
    share_of,
)
from m6rec.kernels.factors.block_lanczos import LANCZOS_BLOCK, leading_eigenvectors, reduced_gram
from m6rec.kernels.factors.projection import FactorModel, build_factor_model

# Columns that a sweep takes at once: M x 64 float32 of some ten thousand items stay in cache.
_COLUMNS_PER_SWEEP = 64


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

    With `config.exact` the leading half of the values is right to 1e-3 or better, as long as the
    spectrum does not lie level.

    Args:
        rows: this rank's users.
        n_items: M, the same on all ranks.
        config: rank, exactness or passes and oversampling, exponents. The rank is lowered to what
            the matrix can have, min(M, N) - 1 and at least 1.
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
    generator = np.random.default_rng(seed)
    if config.exact:
        multiply = partial(_sweep, matrix, communicator=communicator)
        starts = (
            generator.standard_normal((n_items, LANCZOS_BLOCK), dtype=np.float32)[order]
            for _ in count()
        )
        squares, vectors = leading_eigenvectors(
            multiply, starts, rank, max(smaller, 1), communicator
        )
        values = np.sqrt(np.maximum(squares, 0.0))
    else:
        width = min(rank + config.oversampling, smaller) if smaller else 1
        basis = generator.standard_normal((n_items, width), dtype=np.float32)[order]
        for _ in range(config.power_passes):
            basis = _orthonormalise(_sweep(matrix, basis, communicator), 1, communicator)
        basis = _orthonormalise(basis, 2, communicator)
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
        rows.indptr,
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
        add_gram_product(matrix.indptr, matrix.item_indices, matrix.weights, tile, product)
        communicator.all_reduce(product)
        output[:, columns] = product
    return output


def _orthonormalise(matrix: Float32, times: int, communicator: Communicator) -> Float32:
    """An orthonormal basis of the columns.

    Cholesky QR once leaves rounding times the square of the condition, twice rounding alone
    (Yamamoto et al. 2015).
    """
    for _ in range(times):
        inverse = _inverse_triangle(matrix, communicator)
        if inverse is None:
            return _householder(matrix)
        matrix = matrix @ inverse
    return matrix


def _inverse_triangle(matrix: Float32, communicator: Communicator) -> Float32 | None:
    """R^-1 with X^T X = R^T R, so that X R^-1 is orthonormal; float32 [r, r].

    None, on all ranks, where columns depend on each other.
    """
    # Each rank multiplies its part of the items.
    part = share_of(len(matrix), communicator.rank, communicator.size)
    gram = reduced_gram(matrix[part], communicator)
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
