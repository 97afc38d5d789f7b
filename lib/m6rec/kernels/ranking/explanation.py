"""Explain why an item is in a user's list by the user's own items and the item's attributes.

The evidence of a history item h for item j is b_hj = w_uh max(B_hj, 0), where B are the item-item
weights, or the products x_h . y_j of two vectors that a factor model gives each item. Where
transitions T, too, have a part in the item's score, the evidence is

    (1 - s_j) b_hj / sum_h b_hj  +  s_j t_hj / sum_h t_hj    with    t_hj = f_uh T_hj

where s_j is the share of their part in the score, and f_uh is what recency leaves of w_uh. Where
one of the two has no evidence, all is left to the other. A reason says that the item comes after h
where the larger part of the evidence of h is that of transitions.

Where the user has item j already and its repeats have a share r_j in its score, the item itself has
the evidence r_j, and that of all history items is multiplied by 1 - r_j.

The evidence of an attribute a of item j is p(a | history) log(p(a | history) / p(a | catalogue)),
or 0 where the user's items have the attribute less often than the catalogue's items do.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows, indptr_of
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, no_weights

HISTORY_REASON = "history"
AFTER_REASON = "after"
ATTRIBUTE_REASON = "attribute"
POPULAR_REASON = "popular"
POPULAR_WITH_ALL = "popular with all users"
AGAIN_REASON = "again"
MODEL_REASON = "model"
TASTE_OF_ALL = "the taste that your whole history shows"

KINDS = (
    HISTORY_REASON,
    AFTER_REASON,
    ATTRIBUTE_REASON,
    POPULAR_REASON,
    MODEL_REASON,
    AGAIN_REASON,
)
_HISTORY, _AFTER, _ATTRIBUTE, _POPULAR, _MODEL, _AGAIN = range(len(KINDS))


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
class AfterEvidence:
    """What transitions say for listed items.

    Attributes:
        weights: T.
        factors: float32 [entries of the histories]; f.
        shares: float64 [listed items]; s.
    """

    weights: ItemWeights
    factors: Float32
    shares: Float64

    @staticmethod
    def none(n_items: int, entries: int, listed: int) -> "AfterEvidence":
        """That of transitions without any part in any score."""
        return AfterEvidence(no_weights(n_items), np.zeros(entries, np.float32), np.zeros(listed))


@dataclass(frozen=True)
class FactorEvidence:
    """What a factor model says of items for each other, where there are no item-item weights.

    Attributes:
        of_history: float32 [items, k]; x.
        of_listed: float32 [items, k]; y.
    """

    of_history: Float32
    of_listed: Float32


_NO_VECTORS = np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class Reasons:
    """The reasons of many listed items, one after the other.

    Attributes:
        indptr: int64 [entries + 1]; entry e has the reasons indptr[e] up to indptr[e + 1].
        kinds: int8 [reasons]; place in KINDS.
        indices: int32 [reasons]; the history item or the attribute, -1 for the other kinds.
        shares: float64 [reasons]; the reason's share of the evidence of all history items for the
            listed item, or of that of all its attributes.
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
    after: AfterEvidence | None = None,
    repeats: Float64 | None = None,
    factors: FactorEvidence | None = None,
) -> Reasons:
    """At most `limit` reasons for each listed item: itself, history items, then one attribute.

    An item without any evidence has one reason, of kind `popular` for a user without history and
    of kind `model` for other users.

    Args:
        weights: item-item weights.
        attributes: the attributes of all items.
        rows: the users' histories.
        indptr: int64 [n + 1] into items; where each user's list starts and ends.
        items: int32 [entries]; the listed items.
        limit: how many reasons an item has at most; 0 gives none.
        after: what transitions say, where they have a part in the scores.
        repeats: float64 [entries]; r, where repeats have a part in the scores.
        factors: give B in place of `weights`.
    """
    after = after or AfterEvidence.none(len(weights), rows.entries, len(items))
    counts = np.zeros(len(items), np.int64)
    shape = (len(items), limit)
    kinds, indices = np.empty(shape, np.int8), np.empty(shape, np.int32)
    shares = np.empty(shape)
    if limit:
        _explain(
            weights.indptr,
            weights.neighbour_indices,
            weights.weights,
            _NO_VECTORS if factors is None else factors.of_history,
            _NO_VECTORS if factors is None else factors.of_listed,
            attributes.indptr,
            attributes.attribute_indices,
            attributes.shares,
            rows.indptr,
            rows.item_indices,
            rows.weights,
            after.weights.indptr,
            after.weights.neighbour_indices,
            after.weights.weights,
            after.factors,
            after.shares,
            np.zeros(len(items)) if repeats is None else repeats,
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
    vectors_of_history,
    vectors_of_listed,
    attribute_indptr,
    attribute_indices,
    attribute_shares,
    row_indptr,
    history,
    history_weights,
    after_indptr,
    after_targets,
    after_weights,
    after_factors,
    after_shares,
    again_shares,
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
    strongest = np.empty(limit)
    for user in range(len(row_indptr) - 1):
        low, high = row_indptr[user], row_indptr[user + 1]
        first, last = list_indptr[user], list_indptr[user + 1]
        own = history[low:high]
        for entry in range(first, last):
            entry_of[items[entry]] = entry
        by_weights = np.zeros((last - first, high - low))
        by_order = np.zeros((last - first, high - low))
        if len(vectors_of_history):
            _fill_products(
                own,
                history_weights[low:high],
                items[first:last],
                vectors_of_history,
                vectors_of_listed,
                by_weights,
            )
        else:
            _fill_evidence(
                own,
                history_weights[low:high],
                weight_indptr,
                neighbours,
                weights,
                entry_of,
                first,
                by_weights,
            )
        _fill_evidence(
            own,
            after_factors[low:high],
            after_indptr,
            after_targets,
            after_weights,
            entry_of,
            first,
            by_order,
        )
        _count_attributes(own, 1.0, attribute_indptr, attribute_indices, attribute_counts)
        for entry in range(first, last):
            item = items[entry]
            entry_of[item] = -1
            spoken, followed = by_weights[entry - first], by_order[entry - first]
            total = _scale_to_one_sum(spoken, followed, after_shares[entry])
            for place in range(len(own)):
                if spoken[place] + followed[place] > 0.0:
                    counts[entry] = _keep_strongest(
                        strongest,
                        indices[entry],
                        counts[entry],
                        spoken[place] + followed[place],
                        place,
                    )
            attribute, attribute_share = _strongest_attribute(
                item,
                attribute_indptr,
                attribute_indices,
                attribute_counts,
                attribute_shares,
                len(own),
            )
            again = again_shares[entry]
            room = limit - 1 if again > 0.0 else limit
            places = room - 1 if attribute >= 0 and room > 1 else room
            found = min(counts[entry], places)
            for reason in range(found):
                place = indices[entry, reason]
                kinds[entry, reason] = _AFTER if followed[place] > spoken[place] else _HISTORY
                indices[entry, reason] = own[place]
                shares[entry, reason] = strongest[reason] / total
            if attribute >= 0 and found < room:
                kinds[entry, found] = _ATTRIBUTE
                indices[entry, found] = attribute
                shares[entry, found] = attribute_share
                found += 1
            if again > 0.0:
                found = _put_first(kinds[entry], indices[entry], shares[entry], found, item, again)
            if found == 0:
                kinds[entry, 0] = _MODEL if len(own) else _POPULAR
                indices[entry, 0] = -1
                shares[entry, 0] = 1.0
                found = 1
            counts[entry] = found
        _count_attributes(own, -1.0, attribute_indptr, attribute_indices, attribute_counts)


@numba.njit(cache=True, nogil=True)
def _fill_evidence(own, factors, indptr, targets, weights, entry_of, first, evidence):  # type: ignore[no-untyped-def]
    """Fill float64 [listed items, history items] with factor * max(weight, 0).

    `entry_of` has the place of each listed item among those of all users, `first` that of the list.
    """
    for place in range(len(own)):
        for position in range(indptr[own[place]], indptr[own[place] + 1]):
            entry = entry_of[targets[position]]
            if entry >= 0:
                evidence[entry - first, place] = factors[place] * max(weights[position], 0.0)


@numba.njit(cache=True, nogil=True)
def _fill_products(own, factors, listed, vectors_of_history, vectors_of_listed, evidence):  # type: ignore[no-untyped-def]
    """Fill float64 [listed items, history items] with factor * max(x . y, 0)."""
    for entry in range(len(listed)):
        target = vectors_of_listed[listed[entry]]
        for place in range(len(own)):
            vector, product = vectors_of_history[own[place]], 0.0
            for column in range(len(target)):
                product += vector[column] * target[column]
            evidence[entry, place] = factors[place] * max(product, 0.0)


@numba.njit(cache=True, nogil=True)
def _scale_to_one_sum(spoken, followed, share):  # type: ignore[no-untyped-def]
    """Scale two kinds of evidence, in place, so that the second has this share of the sum of both.

    It returns that sum, which is that of the first. Without the second the first stays as it is.
    """
    total, of_order = 0.0, 0.0
    for place in range(len(spoken)):
        total += spoken[place]
        of_order += followed[place]
    if of_order == 0.0 or share == 0.0:
        followed[:] = 0.0
        return total
    if total == 0.0:
        return of_order
    spoken *= 1.0 - share
    followed *= share * (total / of_order)
    return total


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
def _put_first(kinds, indices, shares, found, item, again):  # type: ignore[no-untyped-def]
    """Put the item itself before the `found` reasons; it returns how many there are then."""
    for place in range(found, 0, -1):
        kinds[place], indices[place] = kinds[place - 1], indices[place - 1]
        of_attributes = kinds[place] == _ATTRIBUTE
        shares[place] = shares[place - 1] * (1.0 if of_attributes else 1.0 - again)
    kinds[0], indices[0], shares[0] = _AGAIN, item, again
    return found + 1


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
