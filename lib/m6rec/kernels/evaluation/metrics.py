"""Compute NDCG, MAP, MRR, recall, precision, F1, hit rate and metrics of lists, for each user.

The metrics of lists are novelty, diversity, similarity within lists, calibration and coverage. Each
metric has one value for each user; coverage alone has one for all users together.

A block has `ranked`, int32 [n, N]: each user's list, best first, with no item twice and padding of
-1 at the end. It has the held-out items of each user as `indptr` (int64 [n + 1]) and `indices`. A
user without a list has a row of -1 and the value 0 in every metric but calibration.

`hit_matrix` tells which places of the lists hold held-out items. The relevance metrics are
functions of this matrix, of the number of relevant items of each user, and of K;
`RELEVANCE_METRICS` names them. The formulas are those of Järvelin and Kekäläinen (2002, NDCG),
Baeza-Yates and Ribeiro-Neto (1999, precision, recall, F1, average precision) and Vargas and
Castells (2011, novelty, diversity).

The examples below have three users. The first has the list 5, 3, 9, 1 and holds out 3, 1, 7. The
second has the list 2, 4 and holds out 2. The third has no list and holds out 6.

>>> ranked = np.array([[5, 3, 9, 1], [2, 4, -1, -1], [-1, -1, -1, -1]], dtype=np.int32)
>>> indptr, indices = np.array([0, 3, 4, 5]), np.array([1, 3, 7, 2, 6], dtype=np.int32)
>>> hit_matrix(ranked, indptr, indices).astype(int).tolist()
[[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

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
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows

Booleans = npt.NDArray[np.bool_]


def hit_matrix(ranked: Int32, indptr: Int64, indices: Int32) -> Booleans:
    """Whether the item at each place of each list is one of the user's held-out items.

    Args:
        ranked: int32 [n, N], padded with -1.
        indptr: int64 [n + 1]; user u holds out indices[indptr[u] : indptr[u + 1]].
        indices: int32 [held-out pairs], in any order.

    Returns:
        bool [n, N].
    """
    if len(indices) == 0 or ranked.size == 0:
        return np.zeros(ranked.shape, dtype=np.bool_)
    users = np.arange(len(ranked), dtype=np.int64)
    span = np.int64(1 + max(ranked.max(), indices.max()))
    held_out = np.sort(np.repeat(users, np.diff(indptr)) * span + indices)
    wanted = users[:, None] * span + ranked
    place = np.minimum(np.searchsorted(held_out, wanted), len(held_out) - 1)
    found: Booleans = (held_out[place] == wanted) & (ranked >= 0)
    return found


def hit_rate(hits: Booleans, relevant: Int64, k: int) -> Float64:
    """1 where the first K hold a relevant item, else 0; its mean over users is the hit rate@K.

    >>> hits = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    >>> hit_rate(hits, np.array([3, 1, 1]), 1).tolist()
    [0.0, 1.0, 0.0]
    """
    hit: Float64 = hits[:, :k].any(axis=1).astype(np.float64)
    return hit


def precision(hits: Booleans, relevant: Int64, k: int) -> Float64:
    """hits@K / K, where K is also the divisor for shorter lists.

    >>> hits = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    >>> precision(hits, np.array([3, 1, 1]), 4).tolist()
    [0.5, 0.25, 0.0]
    """
    return _hits_at(hits, k) / k


def recall(hits: Booleans, relevant: Int64, k: int) -> Float64:
    """hits@K / |relevant|.

    >>> hits = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    >>> recall(hits, np.array([4, 1, 1]), 4).tolist()
    [0.5, 1.0, 0.0]
    """
    return _ratio(_hits_at(hits, k), relevant)


def f1(hits: Booleans, relevant: Int64, k: int) -> Float64:
    """2 precision recall / (precision + recall), which is 2 hits@K / (K + |relevant|).

    >>> hits = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    >>> f1(hits, np.array([4, 1, 1]), 4).tolist()
    [0.5, 0.4, 0.0]
    """
    return 2 * _hits_at(hits, k) / (k + relevant)


def ndcg(hits: Booleans, relevant: Int64, k: int) -> Float64:
    """DCG@K / IDCG@K with DCG@K = Σ_{r <= K} hit_r / log2(r + 1).

    The ideal list has min(K, |relevant|) hits at the top.

    >>> hits = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    >>> ndcg(hits, np.array([3, 1, 1]), 2).round(4).tolist()
    [0.3869, 1.0, 0.0]
    """
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    gained = hits[:, :k] @ discounts[: hits.shape[1]]
    ideal = np.concatenate(([0.0], np.cumsum(discounts)))[np.minimum(k, relevant)]
    return _ratio(gained, ideal)


def average_precision(hits: Booleans, relevant: Int64, k: int) -> Float64:
    """Σ_{r <= K} hit_r precision@r / min(K, |relevant|); its mean over users is MAP@K.

    >>> hits = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    >>> average_precision(hits, np.array([4, 1, 1]), 4).tolist()
    [0.25, 1.0, 0.0]
    """
    top = hits[:, :k]
    precisions = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return _ratio((precisions * top).sum(axis=1), np.minimum(k, relevant))


def reciprocal_rank(hits: Booleans, relevant: Int64, k: int) -> Float64:
    """1 / rank of the first hit among the first K, or 0; its mean over users is MRR@K.

    >>> hits = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    >>> reciprocal_rank(hits, np.array([3, 1, 1]), 4).tolist()
    [0.5, 1.0, 0.0]
    """
    top = hits[:, :k]
    if top.shape[1] == 0:
        return np.zeros(len(top))
    return np.where(top.any(axis=1), 1.0 / (1 + top.argmax(axis=1)), 0.0)


RelevanceMetric = Callable[[Booleans, Int64, int], Float64]

RELEVANCE_METRICS: Mapping[str, RelevanceMetric] = MappingProxyType(
    {
        "hit_rate": hit_rate,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "ndcg": ndcg,
        "map": average_precision,
        "mrr": reciprocal_rank,
    }
)
NOVELTY = "novelty"
DIVERSITY = "diversity"
COVERAGE = "coverage"
INTRA_LIST_SIMILARITY = "intra_list_similarity"
CALIBRATION = "calibration"


def information_content(counts: npt.NDArray[Any]) -> Float64:
    """How surprising each item is, in bits: -log2(n_i / Σ n), float64 [M].

    An item that nobody has counts as if one user had it, so that its surprise stays finite.

    >>> information_content(np.array([4, 2, 1, 1, 0])).tolist()
    [1.0, 2.0, 3.0, 3.0, 3.0]
    """
    total = max(float(np.sum(counts)), 1.0)
    information: Float64 = -np.log2(np.maximum(counts, 1) / total)
    return information


def novelty(ranked: Int32, information: Float64, k: int) -> Float64:
    """The mean -log2(share of interactions) of the first K items; 0 for an empty list.

    `information` is float64 [M], from `information_content`.

    >>> novelty(np.array([[0, 2], [1, -1], [-1, -1]]), np.array([1.0, 2.0, 3.0]), 2).tolist()
    [2.0, 2.0, 0.0]
    """
    top = ranked[:, :k]
    listed = top >= 0
    if top.shape[1] == 0:
        return np.zeros(len(top))
    return _ratio((information[top] * listed).sum(axis=1), listed.sum(axis=1))


def diversity(ranked: Int32, vectors: Float32, k: int) -> Float64:
    """1 - the mean cosine of all pairs of the first K items; 0 for lists of fewer than two items.

    The sum over pairs is (|Σ v|² - Σ |v|²) / 2. An item without a vector (a row of zeros) has
    cosine 0 with all others.

    Args:
        ranked: int32 [n, N], padded with -1.
        vectors: float32 [M, d], rows of length 1 or 0, from `unit_rows`.
        k: how many items of each list count.

    Returns:
        float64 [n].

    >>> vectors = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    >>> diversity(np.array([[0, 1], [0, 2], [0, -1]]), vectors, 2).tolist()
    [1.0, 0.0, 0.0]
    """
    top = ranked[:, :k]
    total = np.zeros((len(top), vectors.shape[1]), dtype=np.float64)
    squares = np.zeros(len(top), dtype=np.float64)
    for place in top.T:
        listed = np.flatnonzero(place >= 0)
        chosen = vectors[place[listed]].astype(np.float64)
        total[listed] += chosen
        squares[listed] += np.einsum("nd,nd->n", chosen, chosen)
    lengths = (top >= 0).sum(axis=1)
    pairs = lengths * (lengths - 1)
    cosine = _ratio(np.einsum("nd,nd->n", total, total) - squares, pairs)
    return np.where(pairs > 0, 1.0 - cosine, 0.0)


def intra_list_similarity(ranked: Int32, likeness: ItemLikeness, k: int) -> Float64:
    """The mean likeness of all pairs of the first K items; 0 for lists of fewer than two items.

    Args:
        ranked: int32 [n, N], padded with -1.
        likeness: of all items.
        k: how many items of each list count.
    """
    found = np.zeros(len(ranked))
    _mean_likeness(
        np.ascontiguousarray(ranked[:, :k]),
        np.ascontiguousarray(likeness.vectors),
        likeness.categories.indptr,
        likeness.categories.indices,
        found,
    )
    return found


def calibration(ranked: Int32, history: Rows, categories: ItemCategories, k: int) -> Float64:
    """KL(the mix of the user's own items || that of the first K): 0 where both are the same.

    It is that of Steck (2018), whose list's mix has a share `OWN_SHARE` of the user's. A user whose
    items have no category gets 0.

    Args:
        ranked: int32 [n, N], padded with -1.
        history: the users' own items.
        categories: of all items.
        k: how many items of each list count.
    """
    found = np.zeros(len(ranked))
    _divergences(
        categories.indptr,
        categories.indices,
        categories.count,
        history.indptr,
        history.item_indices,
        history.weights,
        np.ascontiguousarray(ranked[:, :k]),
        found,
    )
    return found


@numba.njit(cache=True, nogil=True)
def _mean_likeness(ranked, vectors, indptr, categories, found):  # type: ignore[no-untyped-def]
    for user in range(len(ranked)):
        pairs = 0
        for place in range(ranked.shape[1]):
            for earlier in range(place):
                one, other = ranked[user, place], ranked[user, earlier]
                if one >= 0 and other >= 0:
                    found[user] += likeness_of(vectors, indptr, categories, one, other)
                    pairs += 1
        if pairs:
            found[user] /= pairs


@numba.njit(cache=True, nogil=True)
def _divergences(  # type: ignore[no-untyped-def]
    category_indptr, categories, n_categories, indptr, history, weights, ranked, found
):
    own, mix = np.zeros(n_categories), np.zeros(n_categories)
    for user in range(len(ranked)):
        of_user = history[indptr[user] : indptr[user + 1]]
        mass, length = 0.0, 0.0
        for place in range(len(of_user)):
            weight = np.float64(weights[indptr[user] + place])
            mass += add_item_to_mix(category_indptr, categories, of_user[place], weight, own)
        for item in ranked[user]:
            if item >= 0:
                length += add_item_to_mix(category_indptr, categories, item, 1.0, mix)
        if mass > 0.0:
            for category in np.flatnonzero(own):
                listed = mix[category] / length if length > 0.0 else 0.0
                found[user] += term_of_divergence(own[category] / mass, listed)
        clear_mix(category_indptr, categories, of_user, own)
        clear_mix(category_indptr, categories, ranked[user], mix)


def recommended_items(ranked: Int32, k: int, n_items: int) -> Booleans:
    """Which items are among the first K of any list: bool [n_items]. Blocks are joined by `or`.

    >>> recommended_items(np.array([[0, 2], [0, -1]]), 2, 4).tolist()
    [True, False, True, False]
    """
    top = ranked[:, :k]
    recommended = np.zeros(n_items, dtype=np.bool_)
    recommended[top[top >= 0]] = True
    return recommended


def coverage(recommended: Booleans, catalogue_size: int) -> float:
    """The share of the catalogue that is among the first K items of any list.

    >>> coverage(np.array([True, False, True, False]), 4)
    0.5
    """
    return float(recommended.sum()) / max(catalogue_size, 1)


def _hits_at(hits: Booleans, k: int) -> Int64:
    count: Int64 = hits[:, :k].sum(axis=1, dtype=np.int64)
    return count


def _ratio(numerator: npt.NDArray[Any], denominator: npt.NDArray[Any]) -> Float64:
    above_zero = denominator > 0
    ratio: Float64 = np.where(above_zero, numerator / np.where(above_zero, denominator, 1), 0.0)
    return ratio
