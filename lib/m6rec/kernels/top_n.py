"""The best N of a row of scores, exactly: equal scores are ordered by item index."""

import numba
import numpy as np

from m6rec.kernels.rows import Float32, Int32, Int64

NO_ITEM = -1


def top_n(scores: Float32, n: int) -> tuple[Int32, Float32]:
    """The n best finite scores of each row, best first, ties by the lower item index.

    Args:
        scores: float32 [users, items]; -inf marks an item that may not be listed.
        n: length of the lists.

    Returns:
        int32 [users, n] item indices and float32 [users, n] scores; a row with fewer than n
        items allowed ends in item -1 and score -inf.
    """
    width = min(n, scores.shape[1])
    items = np.full((scores.shape[0], n), NO_ITEM, dtype=np.int32)
    values = np.full((scores.shape[0], n), -np.inf, dtype=np.float32)
    if width:
        _select(scores, width, items, values)
    return items, values


def mask_items(scores: Float32, offsets: Int64, item_indices: Int32) -> None:
    """Set the scores of each row's listed items to -inf, in place.

    Args:
        scores: float32 [users, items].
        offsets: int64 [users + 1] into item_indices.
        item_indices: int32 [entries].
    """
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    scores[users, item_indices] = -np.inf


@numba.njit(cache=True, nogil=True)
def _select(scores, n, items, values):  # type: ignore[no-untyped-def]
    """Scan each row once with a min-heap of its n best; most scores fail one comparison."""
    for row in range(scores.shape[0]):
        heap_values = values[row]
        heap_items = items[row]
        size = 0
        for item in range(scores.shape[1]):
            score = scores[row, item]
            if not score > -np.inf:
                continue
            if size < n:
                heap_values[size] = score
                heap_items[size] = item
                _sift_up(heap_values, heap_items, size)
                size += 1
            elif score > heap_values[0]:
                heap_values[0] = score
                heap_items[0] = item
                _sift_down(heap_values, heap_items, 0, n)
        for end in range(size - 1, 0, -1):
            heap_values[0], heap_values[end] = heap_values[end], heap_values[0]
            heap_items[0], heap_items[end] = heap_items[end], heap_items[0]
            _sift_down(heap_values, heap_items, 0, end)


@numba.njit(cache=True, nogil=True, inline="always")
def _worse(value, item, other_value, other_item):  # type: ignore[no-untyped-def]
    return value < other_value or (value == other_value and item > other_item)


@numba.njit(cache=True, nogil=True)
def _sift_up(heap_values, heap_items, start):  # type: ignore[no-untyped-def]
    child = start
    while child > 0:
        parent = (child - 1) // 2
        if not _worse(
            heap_values[child], heap_items[child], heap_values[parent], heap_items[parent]
        ):
            return
        heap_values[child], heap_values[parent] = heap_values[parent], heap_values[child]
        heap_items[child], heap_items[parent] = heap_items[parent], heap_items[child]
        child = parent


@numba.njit(cache=True, nogil=True)
def _sift_down(heap_values, heap_items, start, size):  # type: ignore[no-untyped-def]
    parent = start
    while True:
        child = 2 * parent + 1
        if child >= size:
            return
        right = child + 1
        if right < size and _worse(
            heap_values[right], heap_items[right], heap_values[child], heap_items[child]
        ):
            child = right
        if not _worse(
            heap_values[child], heap_items[child], heap_values[parent], heap_items[parent]
        ):
            return
        heap_values[child], heap_values[parent] = heap_values[parent], heap_values[child]
        heap_items[child], heap_items[parent] = heap_items[parent], heap_items[child]
        parent = child
