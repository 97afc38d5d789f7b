"""Explain why an item is in a user's list by what its score is made of.

What speaks for item j is a sum of parts, of which only those above 0 count: one part for each of
the user's history items, which is what the scores of all members owe to it; content; popularity;
and what cannot be divided, such as the part of towers. The share of each in that sum is the
reason's share.

A history item that is j itself is a reason of kind `again`: the user comes back to j. One to which
transitions owe more than all other members is of kind `after`: j follows it. Any other is of kind
`history`: the user had it.

Content is named by an attribute of j that items of the user have, too: by the one whose gain
p(a | history) log(p(a | history) / p(a | catalogue)) is largest. Where these have none of its
attributes, content cannot be divided. A user without items is told the attribute to which content
owes most, unless it owes more to what is no attribute of j, such as the words of texts, or numbers.

What cannot be divided is a reason of kind `model` where it is nearly all of the sum, or where no
item of the history and no attribute is named.

An item for which nothing speaks has a reason of kind `mix` where lists are chosen for diversity or
by the user's mix: it is there for what the list holds with it.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, indptr_of
from m6rec.kernels.ranking.attribution import Listed

HISTORY_REASON = "history"
AFTER_REASON = "after"
ATTRIBUTE_REASON = "attribute"
POPULAR_REASON = "popular"
POPULAR_WITH_ALL = "popular with all users"
POPULAR_IN_SEGMENT = "popular with users of the segment"
AGAIN_REASON = "again"
MODEL_REASON = "model"
MIX_REASON = "mix"
MIX_OF_LIST = "the mix of your list"
TASTE_OF_ALL = "the taste that your whole history shows"
TASTE_OF_OTHERS = "the taste of users like you"

KINDS = (
    HISTORY_REASON,
    AFTER_REASON,
    ATTRIBUTE_REASON,
    POPULAR_REASON,
    MODEL_REASON,
    AGAIN_REASON,
    MIX_REASON,
)
_HISTORY, _AFTER, _ATTRIBUTE, _POPULAR, _MODEL, _AGAIN, _MIX = range(len(KINDS))
# Popularity speaks a little for every item, and with a smaller share it is no reason.
_LEAST_SHARE_OF_POPULARITY = 0.01
# What no item and no attribute explains is a reason beside those that these give only where they
# are next to nothing.
_LEAST_SHARE_OF_MODEL = 0.9


@dataclass(frozen=True)
class ItemAttributes:
    """The attributes of items as a sparse binary matrix.

    Attributes:
        indptr: int64 [items + 1] into attribute_indices.
        attribute_indices: int32 [entries].
        shares: float64 [attributes]; the share of the catalogue's items that have each attribute.
    """

    indptr: Int64
    attribute_indices: Int32
    shares: Float64


@dataclass(frozen=True)
class Support:
    """What speaks for listed items; negative numbers speak against them.

    Attributes:
        history: float64 [cells]; what is owed to each history item, but by transitions.
        order: float64 [cells]; what transitions owe to it.
        content: float64 [entries]; what is owed to the item's attributes.
        popularity: float64 [entries].
        rest: float64 [entries]; what cannot be divided.
    """

    history: Float64
    order: Float64
    content: Float64
    popularity: Float64
    rest: Float64


@dataclass(frozen=True)
class Reasons:
    """The reasons of many listed items, one after the other.

    Attributes:
        indptr: int64 [entries + 1]; entry e has the reasons indptr[e] up to indptr[e + 1].
        kinds: int8 [reasons]; place in KINDS.
        indices: int32 [reasons]; the history item or the attribute, -1 for the other kinds.
        shares: float64 [reasons]; the reason's share of all that speaks for the listed item.
    """

    indptr: Int64
    kinds: npt.NDArray[np.int8]
    indices: Int32
    shares: Float64


def item_attributes(lists: list[list[int]], n_attributes: int, in_catalogue: int) -> ItemAttributes:
    """Join the attribute indices of each item to one sparse matrix.

    Args:
        lists: of every item that there ever was, without any where it has left the catalogue.
        n_attributes: how many there are.
        in_catalogue: how many items the catalogue has.
    """
    indptr = indptr_of([len(one) for one in lists])
    flat = np.array([a for one in lists for a in one], dtype=np.int32)
    shares = np.bincount(flat, minlength=n_attributes) / max(in_catalogue, 1)
    return ItemAttributes(indptr, flat, shares)


def explain(
    attributes: ItemAttributes,
    listed: Listed,
    support: Support,
    limit: int,
    are_mixed: bool = False,
    of_newcomers: Int32 | None = None,
) -> Reasons:
    """At most `limit` reasons for each listed item, the largest share first.

    What cannot be divided is a reason only where neither a history item nor an attribute is one,
    and popularity only where its share is at least a hundredth.

    Args:
        attributes: the attributes of all items.
        listed: the items, and the users' histories.
        support: what speaks for each item.
        limit: how many reasons an item has at most; 0 gives none.
        are_mixed: whether lists are chosen for diversity or by the user's mix.
        of_newcomers: int32 [entries]; the attribute that is named to a user without items, -1 where
            none is; None names none.
    """
    counts = np.zeros(len(listed.items), np.int64)
    shape = (len(listed.items), limit)
    kinds, indices = np.empty(shape, np.int8), np.empty(shape, np.int32)
    shares = np.empty(shape)
    named = np.full(len(counts), -1, np.int32) if of_newcomers is None else of_newcomers
    if limit:
        _explain(
            *read_only(attributes.indptr, attributes.attribute_indices, attributes.shares),
            *read_only(listed.rows.indptr, listed.rows.item_indices),
            *read_only(listed.indptr, listed.items, listed.cells),
            *read_only(support.history, support.order, support.content),
            *read_only(support.popularity, support.rest),
            _MIX if are_mixed else _MODEL,
            *read_only(named),
            counts,
            kinds,
            indices,
            shares,
        )
    given = np.arange(limit) < counts[:, None]
    return Reasons(indptr_of(counts), kinds[given], indices[given], shares[given])


def attributes_by_content(
    attributes: ItemAttributes, places: Int32, listed: Listed, users: Float32, items: Float32
) -> Int32:
    """The attribute that adds most to a listed item's score by content: int32 [entries].

    It is -1 where none adds anything, where what is no attribute of the item adds more, and for
    users who have items.

    Args:
        attributes: the attributes of all items.
        places: int32 [attributes]; the number of content that is this attribute's alone, -1 where
            there is none.
        listed: the items.
        users, items: float32 [n, c] and [items, c]; the content of the users and of all items.
    """
    named = np.full(len(listed.items), -1, np.int32)
    _name_by_content(
        *read_only(attributes.indptr, attributes.attribute_indices, places),
        *read_only(listed.rows.counts, listed.users, listed.items, users, items),
        named,
    )
    return named


@numba.njit(cache=True, nogil=True)
def _name_by_content(  # type: ignore[no-untyped-def]
    indptr, attribute_indices, places, sizes, users, listed, of_users, of_items, named
):
    for entry in range(len(listed)):
        if sizes[users[entry]]:
            continue
        user, item = of_users[users[entry]], of_items[listed[entry]]
        rest, most = 0.0, 0.0
        for place in range(len(user)):
            rest += np.float64(user[place]) * item[place]
        for cell in range(indptr[listed[entry]], indptr[listed[entry] + 1]):
            place = places[attribute_indices[cell]]
            if place >= 0:
                part = np.float64(user[place]) * item[place]
                rest -= part
                if part > most:
                    most, named[entry] = part, attribute_indices[cell]
        if rest > most:
            named[entry] = -1


def no_reasons(entries: int) -> Reasons:
    """No reason for any of the listed items."""
    nothing = np.empty(0, np.int8), np.empty(0, np.int32), np.empty(0)
    return Reasons(np.zeros(entries + 1, np.int64), *nothing)


def join_reasons(parts: list[Reasons]) -> Reasons:
    """The reasons of several blocks of users, one after the other."""
    counts = [np.diff(part.indptr) for part in parts]
    return Reasons(
        indptr_of(np.concatenate([np.empty(0, np.int64), *counts])),
        np.concatenate([np.empty(0, np.int8), *(part.kinds for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.indices for part in parts)]),
        np.concatenate([np.empty(0), *(part.shares for part in parts)]),
    )


@numba.njit(cache=True, nogil=True)
def _explain(  # type: ignore[no-untyped-def]
    attribute_indptr,
    attribute_indices,
    attribute_shares,
    row_indptr,
    history,
    list_indptr,
    items,
    cells,
    of_history,
    of_order,
    of_content,
    of_popularity,
    of_rest,
    without_support,
    of_newcomers,
    counts,
    kinds,
    indices,
    shares,
):
    attribute_counts = np.zeros(len(attribute_shares))
    for user in range(len(row_indptr) - 1):
        own = history[row_indptr[user] : row_indptr[user + 1]]
        _count_attributes(own, 1.0, attribute_indptr, attribute_indices, attribute_counts)
        for entry in range(list_indptr[user], list_indptr[user + 1]):
            item, first = items[entry], cells[entry]
            attribute = _named_attribute(
                item,
                attribute_indptr,
                attribute_indices,
                attribute_counts,
                attribute_shares,
                len(own),
                of_newcomers[entry],
            )
            content = max(of_content[entry], 0.0)
            popular, rest = max(of_popularity[entry], 0.0), max(of_rest[entry], 0.0)
            if attribute < 0:
                content, rest = 0.0, rest + content
            total = content + popular + rest
            found = 0
            reasons = kinds[entry], indices[entry], shares[entry]
            for place in range(len(own)):
                owed = of_history[first + place] + of_order[first + place]
                if owed > 0.0:
                    kind = _HISTORY
                    if own[place] == item:
                        kind = _AGAIN
                    elif of_order[first + place] > of_history[first + place]:
                        kind = _AFTER
                    total += owed
                    found = _keep_largest(reasons, found, kind, own[place], owed)
            if content > 0.0:
                found = _keep_largest(reasons, found, _ATTRIBUTE, attribute, content)
            is_named = found > 0 and rest < _LEAST_SHARE_OF_MODEL * total
            if popular > 0.0 and popular >= _LEAST_SHARE_OF_POPULARITY * total:
                found = _keep_largest(reasons, found, _POPULAR, -1, popular)
            if not is_named and rest > 0.0:
                found = _keep_largest(reasons, found, _MODEL, -1, rest)
            if found == 0:
                # Nothing speaks for the item. It is listed because more speaks against other items,
                # or for the mix of the list.
                speaks = len(own) > 0 or of_content[entry] != 0.0 or of_rest[entry] != 0.0
                kind = without_support if speaks else _POPULAR
                found = _keep_largest(reasons, found, kind, -1, 1.0)
                total = 1.0
            for reason in range(found):
                shares[entry, reason] /= total
            counts[entry] = found
        _count_attributes(own, -1.0, attribute_indptr, attribute_indices, attribute_counts)


@numba.njit(cache=True, nogil=True)
def _keep_largest(reasons, found, kind, index, owed):  # type: ignore[no-untyped-def]
    """Insert a reason into the first `found` places, sorted by what is owed, the largest first.

    It returns how many places are then in use. Of equal reasons the first inserted stays first.
    """
    kinds, indices, shares = reasons
    if found == len(shares):
        if owed <= shares[found - 1]:
            return found
        found -= 1
    place = found
    while place > 0 and shares[place - 1] < owed:
        shares[place], kinds[place] = shares[place - 1], kinds[place - 1]
        indices[place] = indices[place - 1]
        place -= 1
    shares[place], kinds[place], indices[place] = owed, kind, index
    return found + 1


@numba.njit(cache=True, nogil=True)
def _count_attributes(own, step, attribute_indptr, attribute_indices, counts):  # type: ignore[no-untyped-def]
    """Add `step` to the count of each attribute of each item of a history."""
    for item in own:
        for place in range(attribute_indptr[item], attribute_indptr[item + 1]):
            counts[attribute_indices[place]] += step


@numba.njit(cache=True, nogil=True)
def _named_attribute(item, indptr, attribute_indices, counts, shares, size, of_newcomer):  # type: ignore[no-untyped-def]
    """The item's attribute with the largest gain; -1 where it shares none with the history.

    `counts` says how many of the history's `size` items have each attribute. For a history without
    items it is `of_newcomer`.
    """
    if size == 0:
        return of_newcomer
    best, strongest = -1, -np.inf
    for place in range(indptr[item], indptr[item + 1]):
        attribute = attribute_indices[place]
        if counts[attribute] == 0.0:
            continue
        own = counts[attribute] / size
        gain = own * np.log(own / shares[attribute])
        if gain > strongest or (gain == strongest and attribute < best):
            best, strongest = attribute, gain
    return best
