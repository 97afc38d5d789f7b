"""Explain why an item is in a user's list by the user's own items and the item's attributes.

The evidence of a history item h for item j is w_uh max(B_hj, 0), where B are the item-item weights.
The evidence of an attribute a of item j is p(a | history) log(p(a | history) / p(a | catalogue)),
or 0 where the user's items have the attribute less often than the catalogue's items do.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float64, Int32, Int64, Rows, indptr_of
from m6rec.kernels.neighbours.item_neighbours import ItemWeights

HISTORY_REASON = "history"
ATTRIBUTE_REASON = "attribute"
POPULAR_REASON = "popular"
POPULAR_WITH_ALL = "popular with all users"
MODEL_REASON = "model"
TASTE_OF_ALL = "the taste that your whole history shows"

KINDS = (HISTORY_REASON, ATTRIBUTE_REASON, POPULAR_REASON, MODEL_REASON)
_HISTORY, _ATTRIBUTE, _POPULAR, _MODEL = range(len(KINDS))


@dataclass(frozen=True)
class ItemAttributes:
    """The attributes of items as a sparse binary matrix.

    Attributes:
        indptr: int64 [items + 1] into attribute_indices.
        attribute_indices: int32 [entries].
        shares: float64 [attributes]; the share of the items that have each attribute.
    """

    indptr: Int64
    attribute_indices: Int32
    shares: Float64


@dataclass(frozen=True)
class Reasons:
    """The reasons of many listed items, one after the other.

    Attributes:
        indptr: int64 [entries + 1]; entry e has the reasons indptr[e] up to indptr[e + 1].
        kinds: int8 [reasons]; place in KINDS.
        indices: int32 [reasons]; the history item or the attribute, -1 for the other kinds.
        shares: float64 [reasons]; the reason's share of the item's evidence of its kind.
    """

    indptr: Int64
    kinds: npt.NDArray[np.int8]
    indices: Int32
    shares: Float64


def item_attributes(lists: list[list[int]], n_attributes: int) -> ItemAttributes:
    """Join the attribute indices of each item to one sparse matrix."""
    indptr = indptr_of([len(one) for one in lists])
    flat = np.array([a for one in lists for a in one], dtype=np.int32)
    shares = np.bincount(flat, minlength=n_attributes) / max(len(lists), 1)
    return ItemAttributes(indptr, flat, shares)


def explain(
    weights: ItemWeights,
    attributes: ItemAttributes,
    rows: Rows,
    indptr: Int64,
    items: Int32,
    limit: int,
) -> Reasons:
    """At most `limit` reasons for each listed item: history items, then one attribute.

    An item without any evidence has one reason, of kind `popular` for a user without history and
    of kind `model` for other users.

    Args:
        weights: item-item weights.
        attributes: the attributes of all items.
        rows: the users' histories.
        indptr: int64 [n + 1] into items; where each user's list starts and ends.
        items: int32 [entries]; the listed items.
        limit: how many reasons an item has at most; 0 gives none.
    """
    counts = np.zeros(len(items), np.int64)
    shape = (len(items), limit)
    kinds, indices = np.empty(shape, np.int8), np.empty(shape, np.int32)
    shares = np.empty(shape)
    if limit:
        _explain(
            weights.indptr,
            weights.neighbour_indices,
            weights.weights,
            attributes.indptr,
            attributes.attribute_indices,
            attributes.shares,
            rows.indptr,
            rows.item_indices,
            rows.weights,
            indptr,
            items,
            counts,
            kinds,
            indices,
            shares,
        )
    given = np.arange(limit) < counts[:, None]
    return Reasons(indptr_of(counts), kinds[given], indices[given], shares[given])


@numba.njit(cache=True, nogil=True)
def _explain(  # type: ignore[no-untyped-def]
    weight_indptr,
    neighbours,
    weights,
    attribute_indptr,
    attribute_indices,
    attribute_shares,
    row_indptr,
    history,
    history_weights,
    list_indptr,
    items,
    counts,
    kinds,
    indices,
    shares,
):
    limit = kinds.shape[1]
    attribute_counts = np.zeros(len(attribute_shares))
    # The place of each item among all listed items; -1 for an item that this user's list lacks.
    entry_of = np.full(len(weight_indptr) - 1, -1, np.int64)
    strongest = np.empty((len(items), limit))
    totals = np.zeros(len(items))
    for user in range(len(row_indptr) - 1):
        low, high = row_indptr[user], row_indptr[user + 1]
        own = history[low:high]
        for entry in range(list_indptr[user], list_indptr[user + 1]):
            entry_of[items[entry]] = entry
        for position in range(low, high):
            item = history[position]
            for place in range(weight_indptr[item], weight_indptr[item + 1]):
                entry = entry_of[neighbours[place]]
                evidence = history_weights[position] * max(weights[place], 0.0)
                if entry >= 0 and evidence > 0.0:
                    totals[entry] += evidence
                    counts[entry] = _keep_strongest(
                        strongest[entry], indices[entry], counts[entry], evidence, item
                    )
        _count_attributes(own, 1.0, attribute_indptr, attribute_indices, attribute_counts)
        for entry in range(list_indptr[user], list_indptr[user + 1]):
            item = items[entry]
            entry_of[item] = -1
            attribute, attribute_share = _strongest_attribute(
                item,
                attribute_indptr,
                attribute_indices,
                attribute_counts,
                attribute_shares,
                len(own),
            )
            places = limit - 1 if attribute >= 0 and limit > 1 else limit
            found = min(counts[entry], places)
            for reason in range(found):
                kinds[entry, reason] = _HISTORY
                shares[entry, reason] = strongest[entry, reason] / totals[entry]
            if attribute >= 0 and found < limit:
                kinds[entry, found] = _ATTRIBUTE
                indices[entry, found] = attribute
                shares[entry, found] = attribute_share
                found += 1
            if found == 0:
                kinds[entry, 0] = _MODEL if len(own) else _POPULAR
                indices[entry, 0] = -1
                shares[entry, 0] = 1.0
                found = 1
            counts[entry] = found
        _count_attributes(own, -1.0, attribute_indptr, attribute_indices, attribute_counts)


@numba.njit(cache=True, nogil=True)
def _keep_strongest(strongest, indices, count, evidence, item):  # type: ignore[no-untyped-def]
    """Insert an item into the first `count` places, sorted by descending evidence.

    It returns how many places are then in use. Of equal evidence the first inserted stays first.
    """
    if count == len(strongest):
        if evidence <= strongest[count - 1]:
            return count
        count -= 1
    place = count
    while place > 0 and strongest[place - 1] < evidence:
        strongest[place], indices[place] = strongest[place - 1], indices[place - 1]
        place -= 1
    strongest[place], indices[place] = evidence, item
    return count + 1


@numba.njit(cache=True, nogil=True)
def _count_attributes(own, step, attribute_indptr, attribute_indices, counts):  # type: ignore[no-untyped-def]
    """Add `step` to the count of each attribute of each item of a history."""
    for item in own:
        for place in range(attribute_indptr[item], attribute_indptr[item + 1]):
            counts[attribute_indices[place]] += step


@numba.njit(cache=True, nogil=True)
def _strongest_attribute(item, indptr, attribute_indices, counts, shares, size):  # type: ignore[no-untyped-def]
    """The item's attribute with the most evidence and its share of it; -1 where there is none.

    `counts` says how many of the history's `size` items have each attribute.
    """
    best, strongest, total = -1, 0.0, 0.0
    for place in range(indptr[item], indptr[item + 1]):
        attribute = attribute_indices[place]
        if counts[attribute] == 0.0:
            continue
        own = counts[attribute] / size
        evidence = max(own * np.log(own / shares[attribute]), 0.0)
        total += evidence
        if evidence > strongest or (0.0 < evidence == strongest and attribute < best):
            best, strongest = attribute, evidence
    return best, (strongest / total if best >= 0 else 0.0)
