"""The mixed split: a share of each history, half of it by likeness and half at random."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from m6rec.kernels.arrays.hashing import hash_of_columns
from m6rec.kernels.arrays.rows import Int32, Int64, indptr_of

# Enough peers of an item to rank a history by; a popular item has as many as the sample has users.
_MAXIMUM_PEERS = 1_000
_USERS_PER_PRODUCT = 512
_TIES_SALT = 100


@dataclass(frozen=True)
class ItemSample:
    """A bounded sample of users' rows, which tells how often items go together.

    Attributes:
        rows: float32 [sampled users, items]; 1 where the user has the item.
        columns: its transpose in row form.
        counts: float64 [items]; users of each item in the sample.
    """

    rows: sp.csr_matrix
    columns: sp.csr_matrix
    counts: npt.NDArray[np.float64]


def choose_mixed(
    users: Int64,
    indptr: Int64,
    items: Int32,
    sample: ItemSample,
    share: float,
    seed: tuple[int, int],
) -> npt.NDArray[np.bool_]:
    """Flag the share of each user's items that validation takes.

    Of max(1, floor(share n)) items, the larger half is a random one and those of the history
    with the highest cosine of co-occurrence with it, |U_i and U_j| / sqrt(|U_i| |U_j|) over the
    sample's users; the rest are random. Users with one item keep it.

    Args:
        users: int64 [n]; with the items what the draw rests on.
        indptr: int64 [n + 1]; row r holds items indptr[r] to indptr[r + 1].
        items: int32 [entries]; ascending within a row.
        sample: which items go together.
        share: of each user's items.
        seed: seed and salt.

    Returns:
        bool [entries].
    """
    counts = np.diff(indptr)
    rows = np.repeat(np.arange(len(users)), counts)
    held = np.where(counts >= 2, np.maximum(1, np.floor(share * counts)), 0).astype(np.int64)
    drawn = hash_of_columns(*seed, users[rows], items)
    chosen = _place_in_row(rows, indptr, (drawn,)) == 0
    likeness = _likeness(indptr, items, items[chosen], sample)
    likeness[chosen] = np.inf
    # Ties go by a draw of their own: by index they would go to the popular, whose indices are
    # small, and by the first draw they would lean on the chance part.
    ties = hash_of_columns(seed[0], seed[1] + _TIES_SALT, users[rows], items)
    alike = _place_in_row(rows, indptr, (ties, -likeness)) < ((held + 1) // 2)[rows]
    chance = _place_in_row(rows, indptr, (drawn, alike)) < (held // 2)[rows]
    flags: npt.NDArray[np.bool_] = alike | chance
    return flags


def _place_in_row(rows: Int64, indptr: Int64, keys: tuple[npt.NDArray[Any], ...]) -> Int64:
    """int64 [entries]: each entry's place in its row when sorted by the last key first."""
    order = np.lexsort((*keys, rows))
    places = np.empty(len(rows), dtype=np.int64)
    places[order] = np.arange(len(rows)) - indptr[rows]
    return places


def _likeness(
    indptr: Int64, items: Int32, chosen: Int32, sample: ItemSample
) -> npt.NDArray[np.float64]:
    """float64 [entries]: likeness of each entry to the item chosen in its row.

    The cosine up to the chosen item's own norm, which is the same for all of a row.
    """
    likeness = np.zeros(len(items))
    filled = np.flatnonzero(np.diff(indptr))
    for start in range(0, len(filled), _USERS_PER_PRODUCT):
        block = filled[start : start + _USERS_PER_PRODUCT]
        together = _peers(sample, chosen[start : start + len(block)]) @ sample.rows
        # SciPy looks entries up by bisection where rows are sorted, and by scanning elsewhere.
        together.sort_indices()
        low, high = indptr[block[0]], indptr[block[-1] + 1]
        rows = np.repeat(np.arange(len(block)), np.diff(indptr)[block])
        likeness[low:high] = np.asarray(together[rows, items[low:high]]).ravel()
    norms = np.sqrt(np.maximum(sample.counts[items], 1.0))
    likeness /= norms
    return likeness


def _peers(sample: ItemSample, items: Int32) -> sp.csr_matrix:
    """float32 [items given, sampled users]: 1 at some users of each item, spread evenly."""
    columns = [
        sample.columns.indices[sample.columns.indptr[item] : sample.columns.indptr[item + 1]]
        for item in items
    ]
    columns = [users[:: 1 + len(users) // _MAXIMUM_PEERS] for users in columns]
    indptr = indptr_of([len(users) for users in columns])
    indices = np.concatenate(columns)
    ones = np.ones(len(indices), dtype=np.float32)
    return sp.csr_matrix((ones, indices, indptr), shape=(len(items), sample.rows.shape[0]))
