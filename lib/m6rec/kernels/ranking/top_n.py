"""Find the exact N best items of each user; equal scores are ordered by item index.

`top_n` selects from scores that exist. `top_n_products` computes scores by blocks of users x items
and selects inside each block while it is in cache, so that scores never go to memory. The best N
of each user are a heap with the worst of them on top. Its score is a threshold that most scores
fail, and one vector comparison dismisses many of them. Lists are ordered here, but for items of
score 0, which `unscored_items.py` orders by popularity; `rank_of` in `fits/explaining.py` repeats
both.

Where items are ordered by descending length of their vectors, most need no score at all: as
u.v <= |u| |v| (Cauchy-Schwarz), a user is finished at the first item whose length allows no score
above the user's threshold (Teflioudi, Gemulla and Mykytiuk 2015, "LEMP: Fast retrieval of large
entries in a matrix product").
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.padding import padded_rows
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import NO_ITEM, Float32, Int32, Int64
from m6rec.kernels.arrays.threads import Threads

# The scores of one block, 2048 x 512 float32, take 4 MiB. At this size the matrix product is near
# its best rate, and its result is still in the shared cache when the selection reads it.
_USERS_PER_BLOCK = 2048
_ITEMS_PER_BLOCK = 512
# Float32 sums of k products, and lengths, are at most k times this share from the exact ones.
_ROUNDING = float(np.finfo(np.float32).eps)
# How many scores are compared with the threshold at once; shorter runs are not vectorised.
_SCORES_PER_COMPARISON = 64
_ALL_BUT_SIGN = np.int32(2**31 - 1)
_NEGATIVE_ZERO = np.int32(-(2**31))
# The key of the score -inf, whose bits are these and a sign, and of item 0. No item gets in its
# place with that score, since its key would not be lower.
_WORST = np.int64(0x7F800000 << 32)

AddToItems = Callable[[slice, Float32], None]
"""Adds to the scores of a range of items in place: float32 [users of the block, items]."""

AddScores = Callable[[slice], AddToItems]
"""Begins to add the scores of sparse members: called once for each block of users, with its rows.

The function that it returns is called for ranges of items that ascend from 0 without gaps, so it
may keep its place in sorted rows between calls. Blocks run on several threads, so whatever changes
from call to call must belong to the returned function.
"""


@dataclass(frozen=True)
class OrderedItems:
    """Item vectors in the order in which they are scored.

    Attributes:
        vectors: float32 [M, k].
        indices: int32 [M]; the item of each vector.
        places: int32 [M]; the place of each item's vector.
        lengths: float32 [M], descending; each is at least the length of its vector. None where the
            order is by index.
    """

    vectors: Float32
    indices: Int32
    places: Int32
    lengths: Float32 | None


def by_index(item_vectors: Float32) -> OrderedItems:
    """The items by ascending index; every item is scored."""
    indices = np.arange(len(item_vectors), dtype=np.int32)
    return OrderedItems(np.ascontiguousarray(item_vectors, np.float32), indices, indices, None)


def by_length(item_vectors: Float32) -> OrderedItems:
    """The items by descending length of their vectors, equal lengths by index."""
    lengths = _lengths(item_vectors)
    order = np.argsort(-lengths, kind="stable")
    places = np.empty(len(order), np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    vectors = np.ascontiguousarray(item_vectors[order], np.float32)
    return OrderedItems(vectors, order.astype(np.int32), places, lengths[order])


def _lengths(vectors: Float32) -> Float32:
    """float32 [n]: the vectors' lengths, rounded up so that their products bound dot products."""
    squares = np.einsum("nk,nk->n", vectors, vectors, dtype=np.float64)
    slack = 1.0 + (vectors.shape[1] + 4) * _ROUNDING
    lengths: Float32 = (slack * np.sqrt(squares)).astype(np.float32)
    return lengths


@dataclass(frozen=True)
class _Task:
    """The arguments of `top_n_products` and its result, which the blocks of users fill."""

    user_vectors: Float32
    user_lengths: Float32
    items: OrderedItems
    masked_indptr: Int64
    masked_indices: Int32
    masked_items: npt.NDArray[np.bool_]
    added: AddScores | None
    listed: Int32
    values: Float32


def top_n(scores: Float32, n: int) -> tuple[Int32, Float32]:
    """The n best finite scores of each row, best first, ties by the lower item index.

    Args:
        scores: float32 [users, items]; -inf marks a masked item.
        n: length of the lists.

    Returns:
        int32 [users, n] item indices and float32 [users, n] scores; a row with fewer than n
        unmasked items ends in item -1 and score -inf.
    """
    n_rows, n_items = scores.shape
    if not n:
        return _empty_lists(n_rows, 0)
    heaps, thresholds = _empty_heaps(n_rows, n)
    _keep_best(
        *read_only(np.ascontiguousarray(scores), np.arange(n_rows)),
        *read_only(np.arange(n_items, dtype=np.int32)),
        True,
        *read_only(np.zeros(n_items, np.bool_)),
        *read_only(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32)),
        heaps,
        thresholds,
    )
    return _best_first(heaps)


def top_n_products(
    user_vectors: Float32,
    items: OrderedItems,
    n_best: int,
    masked_indptr: Int64,
    masked_indices: Int32,
    masked_items: npt.NDArray[np.bool_] | None = None,
    added: AddScores | None = None,
) -> tuple[Int32, Float32]:
    """The n best items of each user by dot product, as `top_n` of all scores would list them.

    It uses as many threads as BLAS is set to, and each thread takes its own blocks of users. Beside
    the arguments and the result, it needs memory for one block of scores on each thread.

    Args:
        user_vectors: float32 [n, k].
        items: the M items; they must be by index where `added` is given.
        n_best: length of the lists.
        masked_indptr: int64 [n + 1] into masked_indices.
        masked_indices: int32 [entries]; the items masked for each user, ascending within a user.
        masked_items: bool [M]; the items masked for all users; None masks none.
        added: adds the scores of other members before the selection.

    Returns:
        int32 [n, n_best] item indices and float32 [n, n_best] scores, padded as in `top_n`.

    Raises:
        ValueError: the items are by length and `added` is given, whose scores no length bounds.
    """
    if added is not None and items.lengths is not None:
        raise ValueError("other members add to items by index; these are by length")
    listed, values = _empty_lists(len(user_vectors), n_best)
    if not n_best or not len(items.vectors):
        return listed, values
    vectors = np.ascontiguousarray(user_vectors, np.float32)
    task = _Task(
        vectors,
        _lengths(vectors),
        items,
        masked_indptr,
        masked_indices,
        np.zeros(len(items.vectors), np.bool_) if masked_items is None else masked_items,
        added,
        listed,
        values,
    )
    blocks = (
        slice(start, min(start + _USERS_PER_BLOCK, len(user_vectors)))
        for start in range(0, len(user_vectors), _USERS_PER_BLOCK)
    )
    with Threads() as threads:
        threads.run(partial(_rank_block, task), blocks)
    return listed, values


def _empty_lists(n_users: int, n: int) -> tuple[Int32, Float32]:
    return np.full((n_users, n), NO_ITEM, np.int32), np.full((n_users, n), -np.inf, np.float32)


def _empty_heaps(n_users: int, n: int) -> tuple[Int64, Float32]:
    """int64 [n_users, n] keys, the highest on top, and float32 [n_users], the score of that one."""
    return np.full((n_users, n), _WORST, np.int64), np.full(n_users, -np.inf, np.float32)


def _rank_block(task: _Task, users: slice) -> None:
    vectors = task.user_vectors[users]
    rows = np.arange(len(vectors))
    items = task.items
    padded = padded_rows(vectors)
    cells = np.empty(len(padded) * min(_ITEMS_PER_BLOCK, len(items.vectors)), np.float32)
    add_to_items = task.added(users) if task.added else None
    heaps, thresholds = _empty_heaps(len(vectors), task.listed.shape[1])
    lengths = task.user_lengths[users]
    for start in range(0, len(items.vectors), _ITEMS_PER_BLOCK):
        block = slice(start, min(start + _ITEMS_PER_BLOCK, len(items.vectors)))
        if items.lengths is not None:
            reached = lengths[rows] * items.lengths[start] >= thresholds[rows]
            if not reached.any():
                break
            if not reached.all():
                rows, vectors = rows[reached], vectors[reached]
                padded = padded_rows(vectors)
        width = block.stop - block.start
        products = cells[: len(padded) * width].reshape(len(padded), width)
        np.matmul(padded, items.vectors[block].T, out=products)
        scores = products[: len(vectors)]
        if add_to_items is not None:
            add_to_items(block, scores)
        _keep_best(
            *read_only(scores, rows, items.indices[block]),
            items.lengths is None,
            *read_only(task.masked_items),
            *read_only(task.masked_indptr[users.start : users.stop + 1], task.masked_indices),
            heaps,
            thresholds,
        )
    task.listed[users], task.values[users] = _best_first(heaps)


def _best_first(heaps: Int64) -> tuple[Int32, Float32]:
    """The items and the scores of keys, best first; the keys are sorted in place."""
    heaps.sort(axis=1)
    items = np.where(heaps == _WORST, NO_ITEM, heaps).astype(np.int32)
    bits = (-1 - (heaps >> 32)).astype(np.int32)
    values = np.where(bits < 0, bits ^ _ALL_BUT_SIGN, bits).view(np.float32)
    return items, values


@numba.njit(cache=True, nogil=True)
def _keep_best(  # type: ignore[no-untyped-def]
    scores, rows, indices, ascending, masked_items, masked_indptr, masked_indices, heaps, thresholds
):
    """Put the scores that pass a heap's threshold in the place of its worst.

    Row r of `scores` belongs to heap rows[r], and its columns to the items `indices`. Where the
    items come in ascending order over all calls (`ascending`), a score equal to a heap's worst
    never enters, because its item has the higher index.
    """
    bits_of_scores, bits_of_thresholds = scores.view(np.int32), thresholds.view(np.int32)
    for row in range(scores.shape[0]):
        user = rows[row]
        heap = heaps[user]
        masked = masked_indices[masked_indptr[user] : masked_indptr[user + 1]]
        passed_by = _passed_by(thresholds[user], ascending)
        for start in range(0, scores.shape[1], _SCORES_PER_COMPARISON):
            # In a slice that is indexed from 0, numba need not handle negative indices and can
            # vectorise the comparison.
            run = scores[row, start : start + _SCORES_PER_COMPARISON]
            passing = np.int32(0)
            for column in range(len(run)):
                passing += np.int32(run[column] > passed_by)
            if passing == 0:
                continue
            bits = bits_of_scores[row, start : start + _SCORES_PER_COMPARISON]
            for column in range(len(run)):
                if run[column] > passed_by:
                    item = indices[start + column]
                    key = _key(bits[column], item)
                    if key >= heap[0] or masked_items[item] or holds(masked, item):
                        continue
                    _replace_worst(heap, key)
                    bits_of_thresholds[user] = _in_order(np.int32(-1 - (heap[0] >> 32)))
                    passed_by = _passed_by(thresholds[user], ascending)


@numba.njit(cache=True, nogil=True)
def _passed_by(threshold, ascending):  # type: ignore[no-untyped-def]
    """The highest score that is surely not listed; at the threshold the index decides."""
    return threshold if ascending else np.nextafter(threshold, np.float32(-np.inf))


@numba.njit(cache=True, nogil=True)
def holds(ascending, item):  # type: ignore[no-untyped-def]
    """Whether an ascending array holds an item."""
    place = np.searchsorted(ascending, item)
    return place < len(ascending) and ascending[place] == item


@numba.njit(cache=True, nogil=True)
def _replace_worst(heap, key):  # type: ignore[no-untyped-def]
    """Put a key in the place of the highest one, which is on top."""
    n, hole, child = len(heap), 0, 1
    while child < n:
        if child + 1 < n:
            child += int(heap[child + 1] > heap[child])
        if heap[child] <= key:
            break
        heap[hole] = heap[child]
        hole, child = child, 2 * child + 1
    heap[hole] = key


@numba.njit(cache=True, nogil=True)
def _key(bits, item):  # type: ignore[no-untyped-def]
    """int64 that is lower for a higher score and, of equal scores, for the lower item index.

    `bits`, int32, are those of the float32 score.
    """
    return (-1 - np.int64(_in_order(bits))) << 32 | np.int64(item)


@numba.njit(cache=True, nogil=True)
def _in_order(bits):  # type: ignore[no-untyped-def]
    """int32 in the order of the float32 scores that have these bits; the inverse of itself.

    The bits of negative numbers ascend as the numbers descend. -0.0 becomes 0.0, which it equals.
    """
    if bits >= 0:
        return bits
    return np.int32(0) if bits == _NEGATIVE_ZERO else np.int32(bits ^ _ALL_BUT_SIGN)
