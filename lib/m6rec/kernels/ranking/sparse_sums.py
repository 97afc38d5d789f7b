"""Compute scores that are sums of sparse rows, and dot products at chosen items."""

import numba
import numpy as np

from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64
from m6rec.kernels.ranking.members import (
    SparseRows,
    Terms,
)


def dots_at(users: Float32, item_vectors: Float32, indptr: Int64, items: Int32) -> Float32:
    """float32 [entries]: the dot product of each user with each of the user's chosen items."""
    scores = np.empty(len(items), np.float32)
    given = read_only(np.ascontiguousarray(users), item_vectors, indptr, items)
    _dots_at(*given, scores)
    return scores


def sums_at(
    terms: Terms,
    rows: SparseRows,
    square_root: bool,
    indptr: Int64,
    items: Int32,
    n_items: int,
) -> tuple[Float32, Float64]:
    """Sums of sparse rows at chosen items, and their mean and mean square over all items.

    Returns:
        Scores float32 [entries] and moments float64 [n, 2], both after the transform.
    """
    scores = np.empty(len(items), np.float32)
    moments = np.zeros((len(indptr) - 1, 2))
    _sums_at(
        *read_only(terms.indptr, terms.row_indices, terms.factors),
        *read_only(rows.indptr, rows.item_indices, rows.values),
        square_root,
        *read_only(indptr, items),
        n_items,
        scores,
        moments,
    )
    return scores, moments


@numba.njit(cache=True, nogil=True)
def add_sums(  # type: ignore[no-untyped-def]
    first,
    indptr,
    row_indices,
    factors,
    positions,
    row_indptr,
    item_indices,
    values,
    square_root,
    coefficients,
    user_factors,
    scores,
):
    """Add a sparse member's coefficient times its sums to the scores of a block, in place.

    score_uj += a_u b_j t(sum over terms of factor * row_j), for the items from `first` on that
    `scores` float32 [users, items] has columns for. `positions` int64 [terms] says where in its row
    each term goes on, and is moved on to the end of the block.
    """
    width = scores.shape[1]
    stop = first + width
    sums = np.zeros(width, np.float32)
    for user in range(scores.shape[0]):
        touched = False
        for term in range(indptr[user], indptr[user + 1]):
            position = positions[term]
            end = row_indptr[row_indices[term] + 1]
            factor = factors[term]
            while position < end and item_indices[position] < stop:
                sums[item_indices[position] - first] += factor * values[position]
                position += 1
                touched = True
            positions[term] = position
        if not touched:
            continue
        own = scores[user]
        for column in range(width):
            total = sums[column]
            if square_root:
                total = np.sqrt(max(total, np.float32(0.0)))
            own[column] += user_factors[user] * coefficients[first + column] * total
            sums[column] = 0.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dots_at(users, item_vectors, indptr, items, scores):  # type: ignore[no-untyped-def]
    for user in range(len(indptr) - 1):
        vector = users[user]
        for entry in range(indptr[user], indptr[user + 1]):
            item_vector = item_vectors[items[entry]]
            total = np.float32(0.0)
            for column in range(len(vector)):
                total += vector[column] * item_vector[column]
            scores[entry] = total


@numba.njit(cache=True, nogil=True)
def _sums_at(  # type: ignore[no-untyped-def]
    indptr,
    row_indices,
    factors,
    row_indptr,
    item_indices,
    values,
    square_root,
    list_indptr,
    list_items,
    n_items,
    scores,
    moments,
):
    sums = np.zeros(n_items, np.float32)
    for user in range(len(indptr) - 1):
        for term in range(indptr[user], indptr[user + 1]):
            row = row_indices[term]
            for position in range(row_indptr[row], row_indptr[row + 1]):
                sums[item_indices[position]] += factors[term] * values[position]
        total = 0.0
        square = 0.0
        for item in range(n_items):
            value = sums[item]
            if value != 0.0:
                if square_root:
                    value = np.sqrt(max(value, np.float32(0.0)))
                    sums[item] = value
                total += value
                square += np.float64(value) * value
        moments[user, 0] = total / n_items
        moments[user, 1] = square / n_items
        for entry in range(list_indptr[user], list_indptr[user + 1]):
            scores[entry] = sums[list_items[entry]]
        sums[:] = 0.0
