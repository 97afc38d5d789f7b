"""The normal equations of one user row against item factors: (Hu, Koren, Volinsky 2008, eq. 4).

For a row with entries e over items i, curvature c_e and pull t_e,

    (a0 V^T V + lambda I + sum_e c_e v_i v_i^T) u = sum_e t_e v_i.

Implicit feedback: c = w, t = w + a0. Explicit ratings: a0 = 0, c = 1, t = rating - mean.
"""

import numpy as np
from numba import njit

from m6rec.kernels.rows import Float32, Int32, Int64

# Keeps an unregularised, deficient system solvable.
_SMALLEST_REGULARISATION = np.float32(1e-6)
_ENTRIES_PER_BLOCK = 256


@njit(cache=True, nogil=True, fastmath=True)
def _add_symmetric_product(matrix: Float32, vector: Float32, output: Float32) -> None:
    # Four rows at once: the output goes through the registers once for four multiplications.
    width = len(vector)
    whole = width - width % 4
    for row in range(0, whole, 4):
        first, second = matrix[row], matrix[row + 1]
        third, fourth = matrix[row + 2], matrix[row + 3]
        a, b, c, d = vector[row], vector[row + 1], vector[row + 2], vector[row + 3]
        for column in range(width):
            output[column] += (
                a * first[column] + b * second[column] + c * third[column] + d * fourth[column]
            )
    for row in range(whole, width):
        last = matrix[row]
        a = vector[row]
        for column in range(width):
            output[column] += a * last[column]


@njit(cache=True, nogil=True, fastmath=True)
def _apply(
    scaled_gram: Float32,
    regularisation: np.float32,
    items: Int32,
    curvature: Float32,
    item_factors: Float32,
    vector: Float32,
    output: Float32,
) -> None:
    width = len(vector)
    for column in range(width):
        output[column] = regularisation * vector[column]
    _add_symmetric_product(scaled_gram, vector, output)
    for entry in range(len(items)):
        factor = item_factors[items[entry]]
        product = np.float32(0.0)
        for column in range(width):
            product += factor[column] * vector[column]
        product *= curvature[entry]
        for column in range(width):
            output[column] += product * factor[column]


@njit(cache=True, nogil=True, fastmath=True)
def _descend(
    scaled_gram: Float32,
    regularisation: np.float32,
    items: Int32,
    curvature: Float32,
    pull: Float32,
    item_factors: Float32,
    steps: int,
    solution: Float32,
    work: Float32,
) -> None:
    # Conjugate gradient from the solution so far; work holds residual, direction and product.
    width = len(solution)
    residual, direction, product = work[0], work[1], work[2]
    _apply(scaled_gram, regularisation, items, curvature, item_factors, solution, product)
    for column in range(width):
        residual[column] = -product[column]
    for entry in range(len(items)):
        factor = item_factors[items[entry]]
        value = pull[entry]
        for column in range(width):
            residual[column] += value * factor[column]
    length = np.float32(0.0)
    for column in range(width):
        direction[column] = residual[column]
        length += residual[column] * residual[column]
    for _ in range(steps):
        if length < np.float32(1e-20):
            return
        _apply(scaled_gram, regularisation, items, curvature, item_factors, direction, product)
        bend = np.float32(0.0)
        for column in range(width):
            bend += direction[column] * product[column]
        step = length / bend
        shrunk = np.float32(0.0)
        for column in range(width):
            solution[column] += step * direction[column]
            residual[column] -= step * product[column]
            shrunk += residual[column] * residual[column]
        ratio = shrunk / length
        length = shrunk
        for column in range(width):
            direction[column] = residual[column] + ratio * direction[column]


@njit(cache=True, nogil=True, fastmath=True)
def _solve_exactly(
    scaled_gram: Float32,
    regularisation: np.float32,
    items: Int32,
    curvature: Float32,
    pull: Float32,
    item_factors: Float32,
    solution: Float32,
    workspace: Float32,
) -> None:
    # The matrix is summed by BLAS over bounded blocks of entries and factorised by LAPACK, which
    # at these sizes are ten times and twice as fast as loops here. Workspace holds the block, the
    # block times its curvature, and two matrices.
    width = len(solution)
    matrix = workspace[2 * _ENTRIES_PER_BLOCK : 2 * _ENTRIES_PER_BLOCK + width]
    product = workspace[2 * _ENTRIES_PER_BLOCK + width :]
    diagonal = max(regularisation, _SMALLEST_REGULARISATION)
    for row in range(width):
        for column in range(width):
            matrix[row, column] = scaled_gram[row, column]
        matrix[row, row] += diagonal
        solution[row] = 0.0
    for start in range(0, len(items), _ENTRIES_PER_BLOCK):
        size = min(_ENTRIES_PER_BLOCK, len(items) - start)
        block = workspace[:size]
        scaled = workspace[_ENTRIES_PER_BLOCK : _ENTRIES_PER_BLOCK + size]
        for entry in range(size):
            factor = item_factors[items[start + entry]]
            bend, value = curvature[start + entry], pull[start + entry]
            for column in range(width):
                block[entry, column] = factor[column]
                scaled[entry, column] = bend * factor[column]
                solution[column] += value * factor[column]
        np.dot(scaled.T, block, product)
        for row in range(width):
            for column in range(width):
                matrix[row, column] += product[row, column]
    solution[:] = np.linalg.solve(matrix, solution)


@njit(cache=True, nogil=True, fastmath=True)
def _solve_row(
    scaled_gram: Float32,
    regularisation: np.float32,
    items: Int32,
    curvature: Float32,
    pull: Float32,
    item_factors: Float32,
    steps: int,
    solution: Float32,
    workspace: Float32,
    work: Float32,
) -> None:
    if len(items) == 0:
        solution[:] = 0.0
    elif steps == 0:
        _solve_exactly(
            scaled_gram, regularisation, items, curvature, pull, item_factors, solution, workspace
        )
    else:
        _descend(
            scaled_gram, regularisation, items, curvature, pull, item_factors, steps, solution, work
        )


@njit(cache=True, nogil=True, fastmath=True)
def solve_rows(
    offsets: Int64,
    item_indices: Int32,
    curvature: Float32,
    pull: Float32,
    regularisation: Float32,
    scaled_gram: Float32,
    item_factors: Float32,
    steps: int,
    solutions: Float32,
) -> None:
    """Solve the normal equations of each row in place; rows without entries become zero.

    Args:
        offsets: int64 [n + 1].
        item_indices: int32 [entries].
        curvature: float32 [entries]; c.
        pull: float32 [entries]; t.
        regularisation: float32 [n]; lambda of each row, positive where it has entries.
        scaled_gram: float32 [k, k]; a0 V^T V.
        item_factors: float32 [M, k]; V.
        steps: steps of conjugate gradient from what `solutions` holds; 0 solves directly (LAPACK).
        solutions: float32 [n, k]; overwritten.
    """
    width = item_factors.shape[1]
    exact_rows = 2 * (_ENTRIES_PER_BLOCK + width) if steps == 0 else 0
    workspace = np.empty((exact_rows, width), np.float32)
    work = np.empty((3, width), np.float32)
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        _solve_row(
            scaled_gram,
            regularisation[row],
            item_indices[start:stop],
            curvature[start:stop],
            pull[start:stop],
            item_factors,
            steps,
            solutions[row],
            workspace,
            work,
        )


@njit(cache=True, nogil=True, fastmath=True)
def solve_rows_and_add_residual(
    offsets: Int64,
    item_indices: Int32,
    curvature: Float32,
    pull: Float32,
    regularisation: Float32,
    scaled_gram: Float32,
    item_factors: Float32,
    steps: int,
    solutions: Float32,
    residual: Float32,
) -> None:
    """Solve each row as `solve_rows` does and add its share of the items' residual.

    While a row's item factors are in cache, residual_i += (t_ui - c_ui (u . v_i)) u: what the
    normal equations of item i leave over, float32 [M, k], but for the terms in a0 and lambda.
    """
    width = item_factors.shape[1]
    exact_rows = 2 * (_ENTRIES_PER_BLOCK + width) if steps == 0 else 0
    workspace = np.empty((exact_rows, width), np.float32)
    work = np.empty((3, width), np.float32)
    for row in range(len(offsets) - 1):
        start, stop = offsets[row], offsets[row + 1]
        user = solutions[row]
        _solve_row(
            scaled_gram,
            regularisation[row],
            item_indices[start:stop],
            curvature[start:stop],
            pull[start:stop],
            item_factors,
            steps,
            user,
            workspace,
            work,
        )
        for entry in range(start, stop):
            factor = item_factors[item_indices[entry]]
            target = residual[item_indices[entry]]
            product = np.float32(0.0)
            for column in range(width):
                product += user[column] * factor[column]
            product = pull[entry] - curvature[entry] * product
            for column in range(width):
                target[column] += product * user[column]
