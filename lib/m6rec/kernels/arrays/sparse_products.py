"""Multiply user rows by item vectors in sweeps that read each row's vectors once, from cache.

All kernels run on one thread without the GIL. They take rows as plain arrays: indptr int64 [n + 1],
item_indices int32 [entries] and a float32 value for each entry.
"""

import numpy as np
import scipy.sparse as sp
from numba import njit

from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows


@njit(cache=True, nogil=True, fastmath=True)
def gather_rows(
    indptr: Int64, item_indices: Int32, values: Float32, item_vectors: Float32, output: Float32
) -> None:
    """Set output[u] = sum_i values_ui item_vectors[i]: float32 [n, k] from [M, k]."""
    for row in range(len(indptr) - 1):
        entries = slice(indptr[row], indptr[row + 1])
        output[row, :] = 0.0
        _add_weighted_sum(item_indices[entries], values[entries], item_vectors, output[row])


@njit(cache=True, nogil=True, fastmath=True)
def add_gram_product(
    indptr: Int64, item_indices: Int32, values: Float32, item_vectors: Float32, output: Float32
) -> None:
    """Add A^T (A X) to `output`, float32 [M, k], in one sweep over the rows A.

    For each row it computes y = sum_i a_ui X_i and then adds a_ui y to each output_i, while the
    row's vectors are in cache. X is `item_vectors`, float32 [M, k].
    """
    total = np.empty(item_vectors.shape[1], np.float32)
    for row in range(len(indptr) - 1):
        entries = slice(indptr[row], indptr[row + 1])
        total[:] = 0.0
        _add_weighted_sum(item_indices[entries], values[entries], item_vectors, total)
        for entry in range(indptr[row], indptr[row + 1]):
            target = output[item_indices[entry]]
            value = values[entry]
            for column in range(len(total)):
                target[column] += value * total[column]


@njit(cache=True, nogil=True)
def _add_weighted_sum(indices: Int32, values: Float32, vectors: Float32, output: Float32) -> None:
    for entry in range(len(indices)):
        vector = vectors[indices[entry]]
        value = values[entry]
        for column in range(len(output)):
            output[column] += value * vector[column]


def count_items(rows: Rows, n_items: int) -> Int64:
    """int64 [M]: how many rows hold each item."""
    return np.bincount(rows.item_indices, minlength=n_items).astype(np.int64)


def entries_by_item(rows: Rows, n_items: int) -> tuple[Int64, Int32, Int64]:
    """The entries of all rows, sorted by item and then by row.

    Returns:
        indptr: int64 [M + 1]; item i has the entries indptr[i] up to indptr[i + 1].
        row_indices: int32 [entries]; the row of each entry.
        positions: int64 [entries]; the position of each entry in `rows`.
    """
    positions = np.arange(rows.entries, dtype=np.int64)
    shape = (len(rows), n_items)
    columns = sp.csr_matrix((positions, rows.item_indices, rows.indptr), shape=shape).tocsc()
    return columns.indptr.astype(np.int64), columns.indices.astype(np.int32), columns.data


def popularity_order(counts: Int64) -> tuple[Int64, Int32]:
    """The items from the most to the least frequent, ties by index.

    Sweeps read the vectors of frequent items most often. Numbering items in this order keeps those
    vectors together in cache.

    Returns:
        order: int64 [M]; the item at each place.
        place: int32 [M]; the place of each item.
    """
    order = np.argsort(-counts, kind="stable").astype(np.int64)
    place = np.empty(len(counts), np.int32)
    place[order] = np.arange(len(counts), dtype=np.int32)
    return order, place


def share_of(total: int, rank: int, size: int) -> slice:
    """The part of `total` items for which this rank does the dense algebra."""
    return slice(total * rank // size, total * (rank + 1) // size)
