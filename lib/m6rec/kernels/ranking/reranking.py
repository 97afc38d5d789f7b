"""Choose a list from a user's best items: diverse, calibrated to the user's mix, within a quota.

A list grows one item at a time. The next is, of the candidates that the quota lets pass, the one
with the most of

    (1 - c) ((1 - d) r_i - d max_{j in list} sim(i, j)) - c KL(p || q(list + i))

where r is relevance, the score scaled to 0 for the user's last candidate and 1 for the first; d is
the strength of diversity and c that of calibration; p is the user's own mix of categories and q
that of the list (`kernels.arrays.categories`). A likeness below 0 counts as 0. With c = 0 this is
maximal marginal relevance (Carbonell and Goldstein 1998, "The use of MMR"), with d = 0 the greedy
calibration of Steck (2018, "Calibrated recommendations"), and with both 0 the best items within the
quota. The list grows from its head, so a shorter list of the same candidates is the head of a
longer one.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.categories import (
    ItemCategories,
    add_item_to_mix,
    clear_mix,
    term_of_divergence,
)
from m6rec.kernels.arrays.likeness import ItemLikeness, likeness_of
from m6rec.kernels.arrays.rows import NO_ITEM, Float32, Int32, Int64, Rows
from m6rec.kernels.ranking.top_n import holds


@dataclass(frozen=True)
class Reranking:
    """How lists are chosen from candidates.

    Attributes:
        candidates: how many of a user's best items a list is chosen from.
        diversity: d.
        likeness: sim.
        calibration: c.
        categories: whose mix is calibrated.
        at_most: how many items of one value of `limited` a list holds at most; 0 is no quota.
        limited: the values that the quota counts.
    """

    candidates: int
    diversity: float
    likeness: ItemLikeness
    calibration: float
    categories: ItemCategories
    at_most: int
    limited: ItemCategories

    @property
    def mixes(self) -> bool:
        """Whether an item may be chosen for what the list holds with it, and not for its score."""
        return self.diversity > 0.0 or self.calibration > 0.0


def rerank(
    reranking: Reranking, rows: Rows, items: Int32, scores: Float32, n_best: int
) -> tuple[Int32, Float32]:
    """The chosen lists of a block of users, as `top_n_products` returns lists.

    Args:
        reranking: how to choose.
        rows: the users' histories.
        items, scores: int32 and float32 [n, candidates]; each user's best items, best first, padded
            with -1 and -inf.
        n_best: length of the lists.

    Returns:
        int32 [n, n_best] and float32 [n, n_best]: the items in their new order with the scores that
        they had, padded alike.
    """
    listed = np.full((len(items), n_best), NO_ITEM, np.int32)
    values = np.full((len(items), n_best), -np.inf, np.float32)
    likeness, categories, limited = reranking.likeness, reranking.categories, reranking.limited
    alike = likeness.categories
    _rerank(
        (rows.indptr, rows.item_indices, rows.weights),
        np.ascontiguousarray(items),
        np.ascontiguousarray(scores),
        (reranking.diversity, reranking.calibration, reranking.at_most),
        (np.ascontiguousarray(likeness.vectors), alike.indptr, alike.indices),
        (categories.indptr, categories.indices),
        np.zeros((2, categories.count)),
        (limited.indptr, limited.indices),
        np.zeros(limited.count, np.int64),
        listed,
        values,
    )
    return listed, values


def can_grow(
    reranking: Reranking, listed: Int32, allowed: Int32, masked_indptr: Int64, masked: Int32
) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the quota lets an item pass that the list may hold and does not.

    Args:
        reranking: has the quota.
        listed: int32 [n, N], padded with -1.
        allowed: int32; the items that lists may hold.
        masked_indptr: int64 [n + 1] into masked.
        masked: int32; the items that each user's list may not hold, ascending within a user.
    """
    limited = reranking.limited
    taken = np.zeros(limited.count, np.int64)
    found: npt.NDArray[np.bool_] = _can_grow(
        (limited.indptr, limited.indices),
        listed,
        allowed,
        (masked_indptr, masked),
        reranking.at_most,
        taken,
    )
    return found


@numba.njit(cache=True, nogil=True)
def _can_grow(limited, listed, allowed, masked_of_users, at_most, taken):  # type: ignore[no-untyped-def]
    indptr, values = limited
    masked_indptr, masked = masked_of_users
    found = np.zeros(len(listed), np.bool_)
    for user in range(len(listed)):
        held = listed[user][listed[user] >= 0]
        own = masked[masked_indptr[user] : masked_indptr[user + 1]]
        for item in held:
            for place in range(indptr[item], indptr[item + 1]):
                taken[values[place]] += 1
        for item in allowed:
            passes = True
            for place in range(indptr[item], indptr[item + 1]):
                passes &= at_most == 0 or taken[values[place]] < at_most
            if passes and not holds(own, item) and not np.any(held == item):
                found[user] = True
                break
        taken[:] = 0
    return found


@numba.njit(cache=True, nogil=True)
def _rerank(  # type: ignore[no-untyped-def]
    histories, items, scores, strengths, alike, categories, mixes, limited, taken, listed, values
):
    """Fill the lists of all users.

    `mixes` has the user's own mix of categories and that of the list, `taken` how many items of
    each limited value the list holds; they are 0 at the start and again after each user.
    """
    diversity, calibration, at_most = strengths
    indptr, history, weights = histories
    own, mix = mixes
    for user in range(len(items)):
        count = np.count_nonzero(items[user] >= 0)
        candidates = items[user, :count]
        relevance = _relevance(scores[user, :count])
        closest, open_places = np.zeros(count), np.ones(count, np.bool_)
        of_user = history[indptr[user] : indptr[user + 1]]
        mass, length = 0.0, 0.0
        if calibration > 0.0:
            mass = _fill_own_mix(categories, of_user, weights[indptr[user] : indptr[user + 1]], own)
        known = np.flatnonzero(own)
        for rank in range(min(listed.shape[1], count)):
            gains = (1.0 - diversity) * relevance - diversity * closest
            if mass > 0.0:
                gains *= 1.0 - calibration
                _take_divergences(
                    categories, candidates, known, own, mix, length, calibration, gains
                )
            if at_most > 0:
                _close_full(limited, candidates, taken, at_most, open_places)
            best = _best_open(gains, open_places)
            if best < 0:
                break
            item = candidates[best]
            open_places[best] = False
            listed[user, rank], values[user, rank] = item, scores[user, best]
            if mass > 0.0:
                length += add_item_to_mix(categories[0], categories[1], item, 1.0, mix)
            for place in range(limited[0][item], limited[0][item + 1]):
                taken[limited[1][place]] += 1
            if diversity > 0.0:
                _note_likeness(alike, candidates, item, closest)
        clear_mix(categories[0], categories[1], of_user, own)
        clear_mix(categories[0], categories[1], listed[user], mix)
        clear_mix(limited[0], limited[1], listed[user], taken)


@numba.njit(cache=True, nogil=True)
def _relevance(scores):  # type: ignore[no-untyped-def]
    """The scores from 1 to 0; where all are 0, the places, since the most popular come first."""
    relevance = np.zeros(len(scores))
    if len(scores):
        lowest = np.float64(scores[-1])
        spread = scores[0] - lowest
        for place in range(len(scores)):
            if spread > 0.0:
                relevance[place] = (scores[place] - lowest) / spread
            elif lowest == 0.0:
                relevance[place] = 1.0 - place / len(scores)
    return relevance


@numba.njit(cache=True, nogil=True)
def _fill_own_mix(categories, items, weights, own):  # type: ignore[no-untyped-def]
    """Fill the user's own mix; it returns the weight behind it, 0 where there is none."""
    mass = 0.0
    for place in range(len(items)):
        weight = np.float64(weights[place])
        mass += add_item_to_mix(categories[0], categories[1], items[place], weight, own)
    if mass > 0.0:
        own /= mass
    return mass


@numba.njit(cache=True, nogil=True)
def _take_divergences(categories, candidates, known, own, mix, length, strength, gains):  # type: ignore[no-untyped-def]
    """Take from each gain the strength times the divergence of the list with that candidate.

    With one more item, all shares of the list's mix shrink alike, and the shares of that item's own
    categories also grow. So only those terms are computed anew.
    """
    indptr, indices = categories
    as_it_is = _divergence(known, own, mix, length)
    spread = _divergence(known, own, mix, length + 1.0)
    for candidate in range(len(candidates)):
        start, stop = indptr[candidates[candidate]], indptr[candidates[candidate] + 1]
        divergence = as_it_is if start == stop else spread
        for place in range(start, stop):
            category = indices[place]
            without = mix[category] / (length + 1.0)
            more = without + 1.0 / ((stop - start) * (length + 1.0))
            divergence += term_of_divergence(own[category], more)
            divergence -= term_of_divergence(own[category], without)
        gains[candidate] -= strength * divergence


@numba.njit(cache=True, nogil=True)
def _divergence(known, own, mix, length):  # type: ignore[no-untyped-def]
    total = 0.0
    for category in known:
        listed = mix[category] / length if length > 0.0 else 0.0
        total += term_of_divergence(own[category], listed)
    return total


@numba.njit(cache=True, nogil=True)
def _close_full(limited, candidates, taken, at_most, open_places):  # type: ignore[no-untyped-def]
    """Close the places of candidates one of whose values the list cannot hold again."""
    indptr, values = limited
    for candidate in range(len(candidates)):
        for place in range(indptr[candidates[candidate]], indptr[candidates[candidate] + 1]):
            if taken[values[place]] >= at_most:
                open_places[candidate] = False


@numba.njit(cache=True, nogil=True)
def _best_open(gains, open_places):  # type: ignore[no-untyped-def]
    """The first open place with the most gain; -1 where none is open."""
    best, most = -1, -np.inf
    for place in range(len(gains)):
        if open_places[place] and gains[place] > most:
            best, most = place, gains[place]
    return best


@numba.njit(cache=True, nogil=True)
def _note_likeness(alike, candidates, item, closest):  # type: ignore[no-untyped-def]
    """Raise each candidate's likeness to the list to that to an item that has come into it."""
    vectors, indptr, indices = alike
    for place in range(len(candidates)):
        likeness = likeness_of(vectors, indptr, indices, candidates[place], item)
        closest[place] = max(closest[place], likeness)
