"""Choose what validation holds out in the mixed split: half similar items and half random ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from m6rec.kernels.arrays.hashing import hash_of_columns
from m6rec.kernels.arrays.rows import Int32, Int64, indptr_of

# The most users of an item by whom similar items are found; the sample may hold far more users of a
# popular item.
_MAXIMUM_PEERS = 1_000
_USERS_PER_PRODUCT = 512
_TIES_SALT = 100


@dataclass(frozen=True)
class ItemSample:
    """A bounded sample of users' rows, from which co-occurrence of items is counted.

    Attributes:
        rows: float32 [sampled users, items]; 1 where the user has the item.
        columns: its transpose in row form.
        counts: float64 [items]; how many sampled users have each item.
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
    """Flag the share of each user's items that validation holds out.

    A user with n items holds out max(1, floor(share n)) of them. The larger half are a random item
    and the items of the history that co-occur with it most by the cosine
    |U_i and U_j| / sqrt(|U_i| |U_j|) over the sampled users. The rest are random. A user with one
    item keeps it.

    Args:
        users: int64 [n]; each draw depends on the user, the item and the seed.
        indptr: int64 [n + 1]; row r holds the items indptr[r] up to indptr[r + 1].
        items: int32 [entries]; ascending within a row.
        sample: counts how often items occur together.
        share: the share of each user's items to hold out.
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
    # Ties are broken by a draw of their own. By index they would favour popular items, whose
    # indices are small, and by the first draw they would depend on the random half.
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
    """float64 [entries]: the similarity of each entry to the item chosen in its row.

    It is the cosine without the chosen item's own norm, which is the same for all items of a row.
    """
    likeness = np.zeros(len(items))
    filled = np.flatnonzero(np.diff(indptr))
    for start in range(0, len(filled), _USERS_PER_PRODUCT):
        block = filled[start : start + _USERS_PER_PRODUCT]
        together = _peers(sample, chosen[start : start + len(block)]) @ sample.rows
        # SciPy finds entries by bisection in sorted rows, and by a scan in others.
        together.sort_indices()
        low, high = indptr[block[0]], indptr[block[-1] + 1]
        rows = np.repeat(np.arange(len(block)), np.diff(indptr)[block])
        likeness[low:high] = np.asarray(together[rows, items[low:high]]).ravel()
    norms = np.sqrt(np.maximum(sample.counts[items], 1.0))
    likeness /= norms
    return likeness


def _peers(sample: ItemSample, items: Int32) -> sp.csr_matrix:
    """float32 [given items, sampled users]: 1 for some users of each item, spread evenly."""
    columns = [
        sample.columns.indices[sample.columns.indptr[item] : sample.columns.indptr[item + 1]]
        for item in items
    ]
    columns = [users[:: 1 + len(users) // _MAXIMUM_PEERS] for users in columns]
    indptr = indptr_of([len(users) for users in columns])
    indices = np.concatenate(columns)
    ones = np.ones(len(indices), dtype=np.float32)
    return sp.csr_matrix((ones, indices, indptr), shape=(len(items), sample.rows.shape[0]))
