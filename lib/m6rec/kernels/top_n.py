"""The best N of a row of scores, exactly: equal scores are ordered by item index.

`top_n` selects from scores that exist. `top_n_products` computes scores by blocks of users x items
that stay in cache and selects inside each block, so that scores never go to memory. A row keeps its
best N sorted; the N-th is the threshold that most scores fail, a vector of them in one comparison.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.rows import Float32, Int32, Int64
from m6rec.kernels.threads import Threads

NO_ITEM = -1

# Scores of one block: 1024 x 1024 float32 are 4 MiB, where the matrix product is near its best rate
# and what it wrote is still in the shared cache when the selection reads it.
_USERS_PER_BLOCK = 1024
_ITEMS_PER_BLOCK = 1024
# Scores compared with the threshold at once; shorter runs are not vectorised.
_SCORES_PER_COMPARISON = 64

AddToItems = Callable[[slice, Float32], None]
"""Adds to the scores of a range of items in place: float32 [users of the block, items]."""

AddScores = Callable[[slice], AddToItems]
"""Other members of a hybrid: called once a block of users, with their range of rows.

What it returns is called for ranges of items that ascend from 0 without gaps, so that it may keep
its place in sorted lists between calls. Blocks of users run on several threads: what a block needs
belongs to what is returned.
"""


@dataclass(frozen=True)
class _Task:
    """The arguments of `top_n_products` and its result, which blocks of users fill."""

    user_vectors: Float32
    item_vectors: Float32
    seen_offsets: Int64
    seen_items: Int32
    forbidden: npt.NDArray[np.bool_]
    added: AddScores | None
    items: Int32
    values: Float32


def top_n(scores: Float32, n: int) -> tuple[Int32, Float32]:
    """The n best finite scores of each row, best first, ties by the lower item index.

    Args:
        scores: float32 [users, items]; -inf marks an item that may not be listed.
        n: length of the lists.

    Returns:
        int32 [users, n] item indices and float32 [users, n] scores; a row with fewer than n
        items allowed ends in item -1 and score -inf.
    """
    items, values = _empty_lists(scores.shape[0], n)
    if n:
        allowed = np.zeros(scores.shape[1], np.bool_)
        _keep_best(np.ascontiguousarray(scores), 0, allowed, items, values)
    return items, values


def top_n_products(
    user_vectors: Float32,
    item_vectors: Float32,
    n_best: int,
    seen_offsets: Int64,
    seen_items: Int32,
    forbidden: npt.NDArray[np.bool_] | None = None,
    added: AddScores | None = None,
) -> tuple[Int32, Float32]:
    """The n best items of each user by dot product, as `top_n` of all scores would list them.

    Uses as many threads as BLAS is set to, each with blocks of users of its own; memory beside the
    arguments and the result is a block of scores a thread.

    Args:
        user_vectors: float32 [n, k].
        item_vectors: float32 [M, k].
        n_best: length of the lists.
        seen_offsets: int64 [n + 1] into seen_items.
        seen_items: int32 [entries]; items never listed for that user, ascending within a user.
        forbidden: bool [M]; items never listed.
        added: adds the scores of other members before selection.

    Returns:
        int32 [n, n_best] item indices and float32 [n, n_best] scores, padded as in `top_n`.
    """
    items, values = _empty_lists(len(user_vectors), n_best)
    if not n_best or not len(item_vectors):
        return items, values
    task = _Task(
        np.ascontiguousarray(user_vectors, np.float32),
        np.ascontiguousarray(item_vectors, np.float32),
        seen_offsets,
        seen_items,
        np.zeros(len(item_vectors), np.bool_) if forbidden is None else forbidden,
        added,
        items,
        values,
    )
    blocks = (
        slice(start, min(start + _USERS_PER_BLOCK, len(user_vectors)))
        for start in range(0, len(user_vectors), _USERS_PER_BLOCK)
    )
    with Threads() as threads:
        threads.run(partial(_rank_block, task), blocks)
    return items, values


def _empty_lists(n_users: int, n: int) -> tuple[Int32, Float32]:
    return np.full((n_users, n), NO_ITEM, np.int32), np.full((n_users, n), -np.inf, np.float32)


def _rank_block(task: _Task, users: slice) -> None:
    vectors = task.user_vectors[users]
    offsets = task.seen_offsets[users.start : users.stop + 1]
    positions = offsets[:-1].copy()
    cells = np.empty(len(vectors) * min(_ITEMS_PER_BLOCK, len(task.item_vectors)), np.float32)
    add_to_items = task.added(users) if task.added else None
    for start in range(0, len(task.item_vectors), _ITEMS_PER_BLOCK):
        block = task.item_vectors[start : start + _ITEMS_PER_BLOCK]
        scores = cells[: len(vectors) * len(block)].reshape(len(vectors), len(block))
        np.matmul(vectors, block.T, out=scores)
        if add_to_items is not None:
            add_to_items(slice(start, start + len(block)), scores)
        _mask_seen(scores, start, offsets, task.seen_items, positions)
        _keep_best(scores, start, task.forbidden, task.items[users], task.values[users])


@numba.njit(cache=True, nogil=True)
def _mask_seen(scores, first, offsets, seen_items, positions):  # type: ignore[no-untyped-def]
    """Mask the seen items of the block; positions stay at the first seen item after it."""
    stop = first + scores.shape[1]
    for row in range(scores.shape[0]):
        position = positions[row]
        while position < offsets[row + 1] and seen_items[position] < stop:
            scores[row, seen_items[position] - first] = -np.inf
            position += 1
        positions[row] = position


@numba.njit(cache=True, nogil=True)
def _keep_best(scores, first, forbidden, items, values):  # type: ignore[no-untyped-def]
    """Put what passes each row's threshold into its sorted list; columns are items from `first`."""
    for row in range(scores.shape[0]):
        best_items, best_values = items[row], values[row]
        threshold = best_values[-1]
        for start in range(0, scores.shape[1], _SCORES_PER_COMPARISON):
            # A slice indexed from 0: numba then leaves out what wraps negative indices, and the
            # comparison of all is vectorised.
            run = scores[row, start : start + _SCORES_PER_COMPARISON]
            passing = np.int32(0)
            for column in range(len(run)):
                passing += np.int32(run[column] > threshold)
            if passing == 0:
                continue
            for column in range(len(run)):
                item = first + start + column
                if run[column] > threshold and not forbidden[item]:
                    _insert(item, run[column], best_items, best_values)
                    threshold = best_values[-1]


@numba.njit(cache=True, nogil=True)
def _insert(item, value, best_items, best_values):  # type: ignore[no-untyped-def]
    """Behind all that are as good: items come in ascending order."""
    place = len(best_values) - 1
    while place > 0 and best_values[place - 1] < value:
        best_values[place] = best_values[place - 1]
        best_items[place] = best_items[place - 1]
        place -= 1
    best_values[place] = value
    best_items[place] = item
