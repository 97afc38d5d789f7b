"""Order the items of which a ranker says nothing by how many users have them.

A score of exactly 0 says nothing: no member knows the user, or none knows the item. Such items end
the lists of rankers without popularity, and would stand there by their numbers.
"""

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import NO_ITEM, Float32, Int32, Int64, indptr_of
from m6rec.kernels.ranking.scoring import Masked, PreparedBlend, RepresentedUsers, part_scores


def by_popularity(item_counts: Int64) -> Int32:
    """int32: the items from the most popular on, equal ones by index.

    Items without interactions are equal, whatever evidence there is of them.
    """
    return np.argsort(-np.maximum(item_counts, 0), kind="stable").astype(np.int32)


def fill_unscored_by_popularity(
    prepared: PreparedBlend,
    users: RepresentedUsers,
    masked: Masked,
    popular: Int32,
    listed: Int32,
    values: Float32,
) -> Int32:
    """Replace entries of lists that have the score 0 by the most popular items of that score.

    Only as many popular items as a list is long are considered. If some of these score below 0, the
    places that are left keep their items.

    Args:
        prepared, users, masked: what the lists were made of.
        popular: int32; the items that lists may hold, the most popular first.
        listed, values: int32 and float32 [n, N], as `blend_top_n` returns them.
    """
    affected = np.flatnonzero((values == 0.0).any(axis=1))
    if not len(affected):
        return listed
    own = masked.take(affected)
    of_affected, scores = listed[affected], values[affected]
    offered = np.full(of_affected.shape, NO_ITEM, np.int32)
    taken = np.zeros(len(masked.masked_items), np.bool_)
    _offer(popular, own.indptr, own.item_indices, of_affected, scores, taken, offered)
    unsure = np.flatnonzero(_may_be_below_zero(prepared, users, affected))
    if len(unsure):
        of_unsure = users.take(affected[unsure])
        offered[unsure] = _of_score_zero(prepared, of_unsure, offered[unsure])
    _fill(offered, scores, taken, of_affected)
    filled = listed.copy()
    filled[affected] = of_affected
    return filled


def _may_be_below_zero(
    prepared: PreparedBlend, users: RepresentedUsers, some: Int64
) -> npt.NDArray[np.bool_]:
    """bool [m]: whether some users' scores can be negative, so that those not listed may be."""
    found = np.zeros(len(some), np.bool_)
    for name in prepared.dot_members:
        found |= users.vectors[name][some].any(axis=1)
    for part in prepared.sparse:
        values, factors = part.rows.values, users.terms[part.member].factors
        if not part.square_root and (values.min(initial=0.0) < 0.0 or (factors < 0.0).any()):
            found[:] = True
    return found


def _of_score_zero(prepared: PreparedBlend, users: RepresentedUsers, items: Int32) -> Int32:
    """The items, int32 [n, N], with NO_ITEM for those that have another score."""
    given = items != NO_ITEM
    parts = part_scores(prepared, users, indptr_of(given.sum(axis=1)), items[given])
    zero = items.copy()
    zero[given] = np.where(sum(parts.values()) == 0.0, items[given], NO_ITEM)
    return zero


@numba.njit(cache=True, nogil=True)
def _offer(popular, masked_indptr, masked, listed, values, taken, offered):  # type: ignore[no-untyped-def]
    """Offer each user the most popular items that are neither masked nor listed with a score."""
    for user in range(len(listed)):
        own = masked[masked_indptr[user] : masked_indptr[user + 1]]
        scored = listed[user][values[user] > 0.0]
        taken[own] = True
        taken[scored] = True
        count = 0
        for item in popular:
            if count == offered.shape[1]:
                break
            if not taken[item]:
                offered[user, count] = item
                count += 1
        taken[own] = False
        taken[scored] = False


@numba.njit(cache=True, nogil=True)
def _fill(offered, values, taken, listed):  # type: ignore[no-untyped-def]
    """Put the offered items into the places of the score 0, then those that stood there."""
    for user in range(len(listed)):
        places = np.flatnonzero(values[user] == 0.0)
        before = listed[user][places]
        count = 0
        for items in (offered[user], before):
            for item in items:
                if item >= 0 and count < len(places) and not taken[item]:
                    listed[user, places[count]] = item
                    taken[item] = True
                    count += 1
        taken[listed[user][places]] = False
