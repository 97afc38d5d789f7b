"""Solve the normal equations of rows for given vectors of the other side, directly or by steps.

A row with entries e on items i has the confidence c_e beyond a0, the weight of the unobserved, and
the right-hand side t_e (Hu, Koren, Volinsky 2008, eq. 4, where c_e = c_ui - a0, t_e = c_ui p_ui):

    (a0 V^T V + lambda I + sum_e c_e v_i v_i^T) u = sum_e t_e v_i.

Implicit feedback has c = w and t = w + a0. Explicit ratings have a0 = 0, c = 1 and
t = rating - mean. With entries sorted by item, the same equations give an item's factor from the
user factors.

Conjugate gradient advances many rows by one step together. The dense part, a0 V^T V times the
direction of every row, is one matrix product; the sparse part reads the entries of each row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from m6rec.kernels.arrays.prefetch import VECTORS_AHEAD, prefetch_row
from m6rec.kernels.arrays.rows import Float32, Int32, Int64

# Keeps an unregularised, deficient system solvable.
SMALLEST_REGULARISATION = np.float32(1e-6)
# What 1 is added to in 32 bits is no larger, so that 1 keeps some digits.
_MOST_BESIDE_ONE = np.float32(1e3)
# A row counts as solved where the square of its residual is below this.
_SOLVED = np.float32(1e-20)
_ENTRIES_PER_BLOCK = 256
# Enough for a fast matrix product, few enough that the vectors of the rows' items stay in cache
# from one step to the next.
_ROWS_PER_BLOCK = 32


@njit(cache=True, nogil=True, fastmath=True, forceinline=True)
def add_sparse_terms(
    indptr: Int64,
    indices: Int32,
    confidence: Float32,
    right_hand_side: Float32,
    regularisation: Float32,
    right_hand_side_scale: np.float32,
    matrix_scale: np.float32,
    vectors: Float32,
    inputs: Float32,
    outputs: Float32,
) -> None:
    """Add to each row what its entries and lambda contribute to the normal equations.

    outputs_r += p sum_e t_e v_e + s (lambda_r x_r + sum_e c_e (v_e . x_r) v_e). The scales p = 1
    and s = -1 give the residual, p = 0 and s = 1 the product with the matrix.

    Args:
        indptr: int64 [n + 1].
        indices: int32 [entries] into `vectors`.
        confidence: float32 [entries]; c.
        right_hand_side: float32 [entries]; t.
        regularisation: float32 [n]; lambda.
        right_hand_side_scale: p.
        matrix_scale: s.
        vectors: float32 [M, k]; v.
        inputs: float32 [n, k]; x.
        outputs: float32 [n, k].
    """
    width = inputs.shape[1]
    last = len(indices) - 1
    for row in range(len(indptr) - 1):
        given, output = inputs[row], outputs[row]
        scale = matrix_scale * regularisation[row]
        for column in range(width):
            output[column] += scale * given[column]
        for entry in range(indptr[row], indptr[row + 1]):
            prefetch_row(vectors, indices[min(entry + VECTORS_AHEAD, last)])
            vector = vectors[indices[entry]]
            product = np.float32(0.0)
            for column in range(width):
                product += vector[column] * given[column]
            value = (
                right_hand_side_scale * right_hand_side[entry]
                + matrix_scale * confidence[entry] * product
            )
            for column in range(width):
                output[column] += value * vector[column]


@njit(cache=True, nogil=True, fastmath=True, forceinline=True)
def start_descent(residuals: Float32, directions: Float32, lengths: Float32) -> None:
    """Set the first directions of conjugate gradient, float32 [n, k], and |r|^2, float32 [n]."""
    for row in range(len(residuals)):
        length = np.float32(0.0)
        for column in range(residuals.shape[1]):
            value = residuals[row, column]
            directions[row, column] = value
            length += value * value
        lengths[row] = length


@njit(cache=True, nogil=True, fastmath=True, forceinline=True)
def descend(
    products: Float32,
    solutions: Float32,
    residuals: Float32,
    directions: Float32,
    lengths: Float32,
) -> None:
    """Take one step of conjugate gradient on each row's system (Hestenes, Stiefel 1952).

    All arrays but `products` change in place.

    Args:
        products: float32 [n, k]; each row's matrix times its direction.
        solutions: float32 [n, k].
        residuals: float32 [n, k].
        directions: float32 [n, k]; as `start_descent` or the last step left them.
        lengths: float32 [n]; squares of the residuals.
    """
    for row in range(len(solutions)):
        length = lengths[row]
        if length < _SOLVED:
            continue
        product, solution = products[row], solutions[row]
        residual, direction = residuals[row], directions[row]
        curvature = np.float32(0.0)
        for column in range(len(product)):
            curvature += direction[column] * product[column]
        if curvature <= 0:
            continue
        step = length / curvature
        shrunk = np.float32(0.0)
        for column in range(len(product)):
            solution[column] += step * direction[column]
            residual[column] -= step * product[column]
            shrunk += residual[column] * residual[column]
        lengths[row] = shrunk
        ratio = shrunk / length
        for column in range(len(product)):
            direction[column] = residual[column] + ratio * direction[column]


@njit(cache=True, nogil=True, fastmath=True, forceinline=True)
def _descend_rows(
    indptr: Int64,
    indices: Int32,
    confidence: Float32,
    right_hand_side: Float32,
    regularisation: Float32,
    scaled_gram: Float32,
    vectors: Float32,
    steps: int,
    solutions: Float32,
) -> None:
    width = vectors.shape[1]
    work = np.empty((3, _ROWS_PER_BLOCK, width), np.float32)
    lengths = np.empty(_ROWS_PER_BLOCK, np.float32)
    n_rows = len(indptr) - 1
    for start in range(0, n_rows, _ROWS_PER_BLOCK):
        stop = min(start + _ROWS_PER_BLOCK, n_rows)
        bounds, penalty = indptr[start : stop + 1], regularisation[start:stop]
        residuals, directions = work[0, : stop - start], work[1, : stop - start]
        products, block = work[2, : stop - start], solutions[start:stop]
        for row in range(stop - start):
            if bounds[row] == bounds[row + 1]:
                block[row, :] = 0.0
        np.dot(block, scaled_gram, products)
        for row in range(stop - start):
            for column in range(width):
                residuals[row, column] = -products[row, column]
        add_sparse_terms(
            bounds,
            indices,
            confidence,
            right_hand_side,
            penalty,
            np.float32(1.0),
            np.float32(-1.0),
            vectors,
            block,
            residuals,
        )
        start_descent(residuals, directions, lengths)
        for _ in range(steps):
            np.dot(directions, scaled_gram, products)
            add_sparse_terms(
                bounds,
                indices,
                confidence,
                right_hand_side,
                penalty,
                np.float32(0.0),
                np.float32(1.0),
                vectors,
                directions,
                products,
            )
            descend(products, block, residuals, directions, lengths)


@njit(cache=True, nogil=True)
def _solve_exactly(
    scaled_gram: Float32,
    regularisation: np.float32,
    items: Int32,
    confidence: Float32,
    right_hand_side: Float32,
    item_factors: Float32,
    solution: Float32,
    workspace: npt.NDArray[Any],
) -> None:
    # BLAS sums the matrix over bounded blocks of entries, which is ten times as fast as loops here;
    # LAPACK factorises it, which is twice as fast. The workspace holds the block, the block times
    # its confidence, and two matrices, in the precision in which it is solved.
    width = len(solution)
    matrix = workspace[2 * _ENTRIES_PER_BLOCK : 2 * _ENTRIES_PER_BLOCK + width]
    product = workspace[2 * _ENTRIES_PER_BLOCK + width :]
    right = np.zeros(width, workspace.dtype)
    diagonal = max(regularisation, SMALLEST_REGULARISATION)
    for row in range(width):
        for column in range(width):
            matrix[row, column] = scaled_gram[row, column]
        matrix[row, row] += diagonal
    for start in range(0, len(items), _ENTRIES_PER_BLOCK):
        size = min(_ENTRIES_PER_BLOCK, len(items) - start)
        block = workspace[:size]
        scaled = workspace[_ENTRIES_PER_BLOCK : _ENTRIES_PER_BLOCK + size]
        for entry in range(size):
            factor = item_factors[items[start + entry]]
            weight, value = confidence[start + entry], right_hand_side[start + entry]
            for column in range(width):
                block[entry, column] = factor[column]
                scaled[entry, column] = weight * block[entry, column]
                right[column] += value * block[entry, column]
        np.dot(scaled.T, block, product)
        for row in range(width):
            for column in range(width):
                matrix[row, column] += product[row, column]
    solution[:] = np.linalg.solve(matrix, right)


@njit(cache=True, nogil=True, fastmath=True)
def solve_rows(
    indptr: Int64,
    item_indices: Int32,
    confidence: Float32,
    right_hand_side: Float32,
    regularisation: Float32,
    scaled_gram: Float32,
    item_factors: Float32,
    steps: int,
    solutions: Float32,
) -> None:
    """Solve the normal equations of each row in place; rows without entries become zero.

    Args:
        indptr: int64 [n + 1].
        item_indices: int32 [entries].
        confidence: float32 [entries]; c.
        right_hand_side: float32 [entries]; t.
        regularisation: float32 [n]; lambda of each row, positive where it has entries.
        scaled_gram: float32 [k, k]; a0 V^T V.
        item_factors: float32 [M, k]; V.
        steps: how many steps of conjugate gradient to take from what `solutions` holds; 0 solves
            directly (LAPACK).
        solutions: float32 [n, k]; overwritten.
    """
    if steps:
        _descend_rows(
            indptr,
            item_indices,
            confidence,
            right_hand_side,
            regularisation,
            scaled_gram,
            item_factors,
            steps,
            solutions,
        )
        return
    width = item_factors.shape[1]
    workspace = np.empty((2 * (_ENTRIES_PER_BLOCK + width), width), np.float32)
    for row in range(len(indptr) - 1):
        entries = slice(indptr[row], indptr[row + 1])
        if indptr[row] == indptr[row + 1]:
            solutions[row, :] = 0.0
            continue
        _solve_exactly(
            scaled_gram,
            regularisation[row],
            item_indices[entries],
            confidence[entries],
            right_hand_side[entries],
            item_factors,
            solutions[row],
            workspace,
        )


@njit(cache=True, nogil=True)
def _solve_short(
    vectors: Float32, inverse: Float32, confidence: Float32, right_hand_side: Float32
) -> Float32:
    """y of `solve_rows_on_axes` by 64 bits; `vectors` are H, and `inverse` is D^-1."""
    exact = vectors.astype(np.float64)
    system = np.dot(exact * inverse, exact.T)
    for entry in range(len(system)):
        for other in range(len(system)):
            system[entry, other] *= confidence[entry]
        system[entry, entry] += 1.0
    return np.linalg.solve(system, right_hand_side.astype(np.float64)).astype(np.float32)


@njit(cache=True, nogil=True, fastmath=True)
def solve_rows_on_axes(
    indptr: Int64,
    item_indices: Int32,
    confidence: Float32,
    right_hand_side: Float32,
    regularisation: Float32,
    gram_diagonal: Float32,
    item_factors: Float32,
    solutions: Float32,
) -> None:
    """Solve the normal equations of each row directly where a0 V^T V is diagonal.

    Let D = a0 diag(V^T V) + lambda I, let H hold the vectors of a row's n entries, and C their
    confidence. Then a row needs a system of size n instead of k, and nothing is subtracted whose
    difference large weights would leave to rounding (Henderson and Searle 1981, eq. 17):

        u = D^-1 H^T y,    (I + C H D^-1 H^T) y = t.

    Rows of k entries and more have too many digits of weights for 32 bits, and are solved in 64; so
    are those beside whose weights the I would vanish where vectors are alike.

    Args:
        gram_diagonal: float32 [k]; a0 diag(V^T V).
        others: as in `solve_rows`.
    """
    width = item_factors.shape[1]
    gram = np.diag(gram_diagonal)
    most = max(width, _ENTRIES_PER_BLOCK)
    workspace = np.empty((2 * most, width), np.float32)
    exact = np.empty((2 * (_ENTRIES_PER_BLOCK + width), width), np.float64)
    inverse = np.empty(width, np.float32)
    for row in range(len(indptr) - 1):
        start, size = indptr[row], indptr[row + 1] - indptr[row]
        solution = solutions[row]
        if size == 0:
            solution[:] = 0.0
            continue
        if size >= width:
            entries = slice(indptr[row], indptr[row + 1])
            _solve_exactly(
                gram,
                regularisation[row],
                item_indices[entries],
                confidence[entries],
                right_hand_side[entries],
                item_factors,
                solution,
                exact,
            )
            continue
        diagonal = max(regularisation[row], SMALLEST_REGULARISATION)
        for column in range(width):
            inverse[column] = np.float32(1.0) / (gram_diagonal[column] + diagonal)
            solution[column] = 0.0
        block, scaled = workspace[:size], workspace[most : most + size]
        for entry in range(size):
            factor = item_factors[item_indices[start + entry]]
            for column in range(width):
                block[entry, column] = factor[column]
                scaled[entry, column] = factor[column] * inverse[column]
        system = np.dot(block, scaled.T)
        largest = np.float32(0.0)
        for entry in range(size):
            for other in range(size):
                system[entry, other] *= confidence[start + entry]
            largest = max(largest, system[entry, entry])
            system[entry, entry] += np.float32(1.0)
        entries = slice(start, start + size)
        if largest <= _MOST_BESIDE_ONE:
            worth = np.linalg.solve(system, right_hand_side[entries])
        else:
            worth = _solve_short(block, inverse, confidence[entries], right_hand_side[entries])
        for entry in range(size):
            for column in range(width):
                solution[column] += worth[entry] * scaled[entry, column]


@njit(cache=True, nogil=True, fastmath=True)
def turn_rows(rows: Float32, axes: Float32) -> None:
    """Multiply each row of float32 [n, k] by `axes`, float32 [k, k], in place.

    It goes row by row, because a product of matrices rounds a row by what rows stand beside it.
    """
    for row in range(len(rows)):
        rows[row] = np.dot(axes, rows[row])
