"""Decompose the degree-normalised user-item matrix by randomized SVD, distributed over user rows.

The matrix is A = D_u^-a P D_i^-b. By default a random basis of M x r is multiplied by A^T A and
made orthonormal by turns (Halko, Martinsson, Tropp 2011, algorithm 4.4 on the item side). At the
end a Rayleigh-Ritz step in the basis gives the singular values and the right singular vectors.
Where exact singular values are asked for, block Lanczos on A^T A is used instead: it makes many
cheap sweeps with few columns, where the random basis takes few sweeps with all columns.

User rows never leave their rank. One sweep over the rows yields A^T (A Q), and only item-side
numbers are reduced over the ranks.
"""

from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import numpy.typing as npt
import scipy.linalg as sl

from m6rec.config.models import SvdConfig
from m6rec.kernels.arrays.communicator import Communicator, all_sum
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Float64, Int64, Rows
from m6rec.kernels.arrays.sparse_products import (
    add_gram_product,
    count_items,
    popularity_order,
    share_of,
)
from m6rec.kernels.factors.block_lanczos import LANCZOS_BLOCK, leading_eigenvectors, reduced_gram
from m6rec.kernels.factors.projection import FactorModel, build_factor_model

# How many columns a sweep takes at once: for ten thousand items, M x 64 float32 stay in cache.
_COLUMNS_PER_SWEEP = 64


@dataclass(frozen=True)
class SvdResult:
    """The leading part of a singular value decomposition, the same on all ranks.

    Attributes:
        singular_values: float64 [k], descending.
        item_vectors: float32 [M, k]; right singular vectors, each with a positive largest entry.
        item_counts: int64 [M]; how many rows hold each item.
    """

    singular_values: Float64
    item_vectors: Float32
    item_counts: Int64


def randomized_svd(
    rows: Rows, n_items: int, config: SvdConfig, seed: int, communicator: Communicator
) -> SvdResult:
    """The leading singular values and item vectors of D_u^-a P D_i^-b over the rows of all ranks.

    With `config.exact` the leading half of the values is right to 1e-3 or better, unless many
    singular values are nearly equal.

    Args:
        rows: this rank's users.
        n_items: M, the same on all ranks.
        config: rank, exactness or passes and oversampling, and exponents. A rank above what the
            matrix can have, min(M, N) - 1, is lowered to it, but never below 1.
        seed: of the random basis, which does not depend on the number of ranks.
        communicator: the group; all ranks call this function together.
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
        # Random columns also lie outside the row space, so that the first block leaves it once.
        limit = max(min(n_items, n_users + LANCZOS_BLOCK), 1)
        squares, vectors = leading_eigenvectors(multiply, starts, rank, limit, communicator)
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
    """Make the factor model of a decomposition.

    With f = diag((s / s_0)^spectrum_power), the factors are V f, the projection is D_i^-b V f and
    the scales are d_i^b, so that score_uj = (P_u D_i^-b V f) . (V f)_j d_j^b. The row's own scale
    D_u^-a is left out because it would not change the order of a user's scores. Items that nobody
    has get a zero factor and scale 1.
    """
    values = result.singular_values
    relative = values / values[0] if values[0] > 0 else np.zeros_like(values)
    spectrum = np.where(relative > 0, relative, 0.0) ** config.spectrum_power * (relative > 0)
    known = result.item_counts > 0
    factors = result.item_vectors * spectrum.astype(np.float32) * known[:, None]
    scales = np.where(known, result.item_counts, 1).astype(np.float64) ** config.item_exponent
    projection = np.empty_like(factors)
    np.divide(factors, scales[:, None], out=projection, casting="same_kind")
    parameters = {
        "user_exponent": config.user_exponent,
        "item_exponent": config.item_exponent,
        "spectrum_power": config.spectrum_power,
        "largest_singular_value": float(values[0]),
        "smallest_singular_value": float(values[-1]),
    }
    return build_factor_model(
        "svd",
        factors,
        projection,
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
    """A^T (A basis) over all ranks, float32 [M, r], computed by tiles of columns."""
    output = np.empty_like(basis)
    for start in range(0, basis.shape[1], _COLUMNS_PER_SWEEP):
        columns = slice(start, start + _COLUMNS_PER_SWEEP)
        tile = np.ascontiguousarray(basis[:, columns])
        product = np.zeros_like(tile)
        read = read_only(matrix.indptr, matrix.item_indices, matrix.weights, tile)
        add_gram_product(*read, product)
        communicator.all_reduce(product)
        output[:, columns] = product
    return output


def _orthonormalise(matrix: Float32, times: int, communicator: Communicator) -> Float32:
    """An orthonormal basis of the columns, by `times` rounds of Cholesky QR.

    One round leaves an error of rounding times the square of the condition; a second round leaves
    only rounding errors (Yamamoto et al. 2015).
    """
    for _ in range(times):
        inverse = _inverse_triangle(matrix, communicator)
        if inverse is None:
            return _householder(matrix)
        matrix = matrix @ inverse
    return matrix


def _inverse_triangle(matrix: Float32, communicator: Communicator) -> Float32 | None:
    """R^-1 with X^T X = R^T R, so that X R^-1 is orthonormal: float32 [r, r].

    Where columns depend on each other, it is None on all ranks.
    """
    # Each rank multiplies its own part of the items.
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
