"""The sweeps over user rows: each reads a row's item vectors once, while they are in cache.

All kernels run without the GIL on one thread, and take rows as plain arrays: offsets int64 [n + 1],
item_indices int32 [entries] and one float32 value an entry.
"""

import numpy as np
from numba import njit

from m6rec.kernels.rows import Float32, Int32, Int64, Rows


@njit(cache=True, nogil=True, fastmath=True)
def gather_rows(
    offsets: Int64, item_indices: Int32, values: Float32, item_vectors: Float32, output: Float32
) -> None:
    """Set output[u] = sum_i values_ui item_vectors[i]: float32 [n, k] from [M, k]."""
    width = item_vectors.shape[1]
    for row in range(len(offsets) - 1):
        total = output[row]
        total[:] = 0.0
        for entry in range(offsets[row], offsets[row + 1]):
            vector = item_vectors[item_indices[entry]]
            value = values[entry]
            for column in range(width):
                total[column] += value * vector[column]


@njit(cache=True, nogil=True, fastmath=True)
def add_gram_product(
    offsets: Int64, item_indices: Int32, values: Float32, item_vectors: Float32, output: Float32
) -> None:
    """Add A^T (A X) to `output`, both float32 [M, k], for rows A in one sweep.

    y = sum_i a_ui X_i, then output_i += a_ui y, while the row's vectors are in cache.
    """
    width = item_vectors.shape[1]
    total = np.empty(width, np.float32)
    for row in range(len(offsets) - 1):
        total[:] = 0.0
        for entry in range(offsets[row], offsets[row + 1]):
            vector = item_vectors[item_indices[entry]]
            value = values[entry]
            for column in range(width):
                total[column] += value * vector[column]
        for entry in range(offsets[row], offsets[row + 1]):
            target = output[item_indices[entry]]
            value = values[entry]
            for column in range(width):
                target[column] += value * total[column]


@njit(cache=True, nogil=True, fastmath=True)
def add_item_curvature(
    offsets: Int64,
    item_indices: Int32,
    weights: Float32,
    user_factors: Float32,
    item_vectors: Float32,
    output: Float32,
) -> None:
    """Add sum_u w_ui u (u . p_i) to output_i, for item vectors p float32 [M, k]."""
    width = item_vectors.shape[1]
    for row in range(len(offsets) - 1):
        user = user_factors[row]
        for entry in range(offsets[row], offsets[row + 1]):
            item = item_indices[entry]
            vector = item_vectors[item]
            target = output[item]
            product = np.float32(0.0)
            for column in range(width):
                product += user[column] * vector[column]
            product *= weights[entry]
            for column in range(width):
                target[column] += product * user[column]


def count_items(rows: Rows, n_items: int) -> Int64:
    """int64 [M]: how many rows hold each item."""
    return np.bincount(rows.item_indices, minlength=n_items).astype(np.int64)


def popularity_order(counts: Int64) -> tuple[Int64, Int32]:
    """Items from the most to the least frequent, ties by index, and each item's place in it.

    Sweeps touch vectors by frequency, so that numbering items this way keeps the frequent ones
    together in cache.

    Returns:
        order: int64 [M]; the item at each place.
        place: int32 [M]; the place of each item.
    """
    order = np.argsort(-counts, kind="stable").astype(np.int64)
    place = np.empty(len(counts), np.int32)
    place[order] = np.arange(len(counts), dtype=np.int32)
    return order, place


def share_of(total: int, rank: int, size: int) -> slice:
    """The part of `total` items whose dense algebra this rank does."""
    return slice(total * rank // size, total * (rank + 1) // size)
