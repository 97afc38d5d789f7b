"""Compute item-item weights from content: how much the items of a history speak for similar items.

Each target item j, with or without interactions, gets candidates S_j: the items with interactions
whose terms t are nearest to its own by cosine. The weights of the candidates solve a kernel ridge
regression on the target's content,

    (K_SS + lambda I) beta = K_Sj    with    K_ij = (1 - s) t_i . t_j + s c_i . c_j

(Saunders, Gammerman and Vovk 1998, "Ridge regression learning algorithm in dual variables"). Five
near copies of one item then count as one witness and not as five. The vectors c are the content
after dimension reduction, in which two items without a common term may still be similar. The same
weights represent an item without interactions in any vector space of items.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp

from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, indptr_of
from m6rec.kernels.arrays.selection import kth_largest, largest_in_rows
from m6rec.kernels.neighbours.content import unit_rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, item_weights_from_scipy
from m6rec.kernels.neighbours.ridge import conjugate_gradient

_LEAST_LENGTH = 1e-12
_SUMS_AT_ONCE = 4096
_TARGETS_AT_ONCE = 256


def content_weights(
    terms: sp.csr_matrix,
    vectors: Float32,
    postings: sp.csr_matrix,
    targets: Int32,
    candidates: int,
    vector_share: float,
    regularisation: float,
) -> ItemWeights:
    """The weights of some targets: row t belongs to targets[t] and holds its candidates, ascending.

    Args:
        terms: float32 [M, V]; each item's terms, rows of length 1 or empty.
        vectors: float32 [M, c]; each item's content vector, at most of length 1.
        postings: float32 [V, M]; for each term the items that have it and may be candidates.
        targets: int32 [B].
        candidates: how many candidates a target has at most.
        vector_share: s.
        regularisation: lambda; an item's similarity to itself is 1.
    """
    read = read_only(
        terms.indptr.astype(np.int64),
        terms.indices.astype(np.int32),
        terms.data.astype(np.float32),
        np.ascontiguousarray(vectors),
        postings.indptr.astype(np.int64),
        postings.indices.astype(np.int32),
        postings.data.astype(np.float32),
        targets,
    )
    shares = np.float32(vector_share), np.float32(regularisation)
    counts, indices, weights = _content_weights(*read, candidates, terms.shape, *shares)
    return ItemWeights(indptr_of(counts), indices, weights)


def warm_postings(
    terms: sp.csr_matrix, interaction_counts: Int64, longest: int, seed: int
) -> sp.csr_matrix:
    """For each term, the items with interactions that have it: float32 [V, M].

    Args:
        terms: float32 [M, V].
        interaction_counts: int64 [M].
        longest: the items of a term are cut to a random sample of this size. Without the cut, a
            term that every item has would cost the square of the catalogue.
        seed: of the samples.
    """
    warm = sp.diags((interaction_counts > 0).astype(np.float32)) @ terms
    by_term = sp.csr_matrix(warm.T.tocsr(), dtype=np.float32)
    by_term.eliminate_zeros()
    by_term.sort_indices()
    if not by_term.nnz or int(np.diff(by_term.indptr).max()) <= longest:
        return by_term
    order = np.random.default_rng(seed).random(by_term.nnz)
    term = np.repeat(np.arange(by_term.shape[0]), np.diff(by_term.indptr))
    by_chance = np.lexsort((order, term))
    places = np.arange(by_term.nnz) - by_term.indptr[term]
    kept = np.sort(by_chance[places < longest])
    counts = np.minimum(np.diff(by_term.indptr), longest)
    return sp.csr_matrix(
        (by_term.data[kept], by_term.indices[kept], indptr_of(counts)), shape=by_term.shape
    )


@dataclass(frozen=True)
class LaterItems:
    """Items that came after a training; their numbers follow those of the items of it.

    Attributes:
        item_ids: their outside ids.
        by_target: the content neighbours of all items by target; rows of the other items are empty.
    """

    item_ids: tuple[str, ...]
    by_target: ItemWeights


def joined_by_later(weights: ItemWeights, later: LaterItems) -> ItemWeights:
    """Content weights by history item, of all items, with those of the later items as targets."""
    both = weights.to_scipy() + later.by_target.to_scipy().T
    return item_weights_from_scipy(both)


def neighbours_by_vectors(
    vectors: Float32,
    targets: Int64,
    interaction_counts: Int64,
    candidates: int,
    regularisation: float,
) -> ItemWeights:
    """The content weights of some targets, whose content is vectors alone, by target.

    As `content_weights` with K_ij = v_i . v_j, where all vectors have length 1, and all items with
    interactions in place of the postings.

    Args:
        vectors: float32 [M, d].
        targets: int64 [B], ascending; the rows of the other items are empty.
        interaction_counts: int64 [M].
        candidates: how many candidates a target has at most.
        regularisation: lambda.
    """
    n_items, unit = len(vectors), unit_rows(vectors)
    warm = np.flatnonzero(interaction_counts > 0)
    chosen = np.zeros((len(targets), min(candidates, len(warm))), np.int64)
    weights = np.zeros(chosen.shape, np.float32)
    penalty = regularisation * np.eye(chosen.shape[1], dtype=np.float32)
    known = unit[warm]
    for start in range(0, len(targets), _TARGETS_AT_ONCE):
        block = slice(start, start + _TARGETS_AT_ONCE)
        likeness = unit[targets[block]] @ known.T
        order = np.argsort(-likeness, axis=1, kind="stable")[:, : chosen.shape[1]]
        nearest = np.sort(order, axis=1)
        own = known[nearest]
        right = np.take_along_axis(likeness, nearest, axis=1)
        solved = np.linalg.solve(own @ own.transpose(0, 2, 1) + penalty, right[..., None])
        chosen[block], weights[block] = warm[nearest], solved[..., 0]
    rows = np.repeat(targets, chosen.shape[1])
    entries = weights.ravel(), (rows, chosen.ravel())
    return item_weights_from_scipy(sp.csr_matrix(entries, shape=(n_items, n_items)))


def represent_by_neighbours(
    item_vectors: Float32, by_target: ItemWeights, interaction_counts: Int64
) -> Float32:
    """Item vectors float32 [M, k] in which content neighbours stand in for missing interactions.

    An item without interactions gets a vector v_j in the direction of sum_i beta_ij v_i. Its length
    is the mean length of the items with the fewest interactions, times the ratio of its neighbours'
    mean length to that of all items: items that nobody has yet must not crowd out those that many
    have. Items with interactions, and items without content neighbours, keep their vectors.

    Args:
        item_vectors: float32 [M, k].
        by_target: row j holds the content neighbours of item j.
        interaction_counts: int64 [M].
    """
    warm = interaction_counts > 0
    weights = by_target.to_scipy()
    cold = np.flatnonzero(~warm & (np.diff(weights.indptr) > 0))
    if not len(cold) or not warm.any():
        return item_vectors
    lengths = np.linalg.norm(item_vectors, axis=1)
    fewest = interaction_counts == interaction_counts[warm].min()
    unit = float(lengths[fewest].mean() / max(lengths[warm].mean(), _LEAST_LENGTH))
    sums = np.asarray(weights[cold] @ item_vectors, dtype=np.float32)
    absolute = abs(weights[cold])
    totals = np.asarray(absolute.sum(axis=1)).ravel()
    neighbour_lengths = (absolute @ lengths) / np.maximum(totals, _LEAST_LENGTH)
    scales = unit * neighbour_lengths / np.maximum(np.linalg.norm(sums, axis=1), _LEAST_LENGTH)
    represented: Float32 = item_vectors.copy()
    represented[cold] = scales[:, None] * sums
    return represented


def rows_by_neighbours(
    weights: ItemWeights, by_target: ItemWeights, interaction_counts: Int64, kept: int
) -> ItemWeights:
    """Item-item weights in which content neighbours stand in for missing interactions.

    A history item j without interactions speaks for other items as its neighbours do: its row is
    sum_i beta_ij B_i, cut to its `kept` largest weights. All other rows stay.

    Args:
        weights: by history item.
        by_target: row j holds the content neighbours of item j.
        interaction_counts: int64 [M].
        kept: how many weights of such a row are kept.
    """
    known = weights.to_scipy()
    beta = by_target.to_scipy()
    cold = np.flatnonzero((interaction_counts == 0) & (np.diff(beta.indptr) > 0))
    if not len(cold):
        return weights
    counts = np.zeros(len(weights), np.int64)
    indices, values = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
    for start in range(0, len(cold), _SUMS_AT_ONCE):
        some = cold[start : start + _SUMS_AT_ONCE]
        sums = (beta[some] @ known).tocsr().sorted_indices()
        places, of_rows = largest_in_rows(sums.indptr.astype(np.int64), abs(sums.data), kept)
        counts[some] = of_rows
        indices.append(sums.indices[places].astype(np.int32))
        values.append(sums.data[places].astype(np.float32))
    arrays = np.concatenate(values), np.concatenate(indices), indptr_of(counts)
    return item_weights_from_scipy(known + sp.csr_matrix(arrays, shape=known.shape))


@numba.njit(cache=True, nogil=True)
def _content_weights(
    indptr: Int64,
    terms: Int32,
    values: Float32,
    vectors: Float32,
    term_indptr: Int64,
    term_items: Int32,
    term_values: Float32,
    targets: Int32,
    candidates: int,
    shape: tuple[int, int],
    vector_share: np.float32,
    penalty: np.float32,
) -> tuple[Int64, Int32, Float32]:
    n_items, n_terms = shape
    likeness = np.zeros(n_items, np.float32)
    touched = np.empty(n_items, np.int32)
    dense = np.zeros(n_terms, np.float32)
    term_share = np.float32(1.0) - vector_share
    counts = np.zeros(len(targets), np.int64)
    out_indices = np.empty(len(targets) * candidates, np.int32)
    out_weights = np.empty(len(targets) * candidates, np.float32)
    filled = 0
    for t in range(len(targets)):
        target = targets[t]
        n_touched = 0
        for p in range(indptr[target], indptr[target + 1]):
            for q in range(term_indptr[terms[p]], term_indptr[terms[p] + 1]):
                item = term_items[q]
                if item == target:
                    continue
                if likeness[item] == 0.0:
                    touched[n_touched] = item
                    n_touched += 1
                likeness[item] += values[p] * term_values[q]
        chosen = _nearest(touched[:n_touched], likeness, candidates)
        for place in range(n_touched):
            likeness[touched[place]] = 0.0
        n = len(chosen)
        own = vectors[chosen]
        system = vector_share * (own @ own.T)
        right = vector_share * (own @ vectors[target])
        # Of a term that very many items have, the postings are a sample, by which items are chosen;
        # how like the chosen ones are is told by all terms.
        right += term_share * _products(target, chosen, indptr, terms, values, dense)
        for a in range(n):
            _scatter(chosen[a], indptr, terms, values, dense)
            for b in range(a + 1):
                total = np.float32(0.0)
                for p in range(indptr[chosen[b]], indptr[chosen[b] + 1]):
                    total += values[p] * dense[terms[p]]
                system[a, b] += term_share * total
                system[b, a] = system[a, b]
            system[a, a] += penalty
            for p in range(indptr[chosen[a]], indptr[chosen[a] + 1]):
                dense[terms[p]] = 0.0
        counts[t] = n
        out_indices[filled : filled + n] = chosen
        out_weights[filled : filled + n] = conjugate_gradient(system, right)
        filled += n
    return counts, out_indices[:filled].copy(), out_weights[:filled].copy()


@numba.njit(cache=True, nogil=True)
def _scatter(item: int, indptr: Int64, terms: Int32, values: Float32, dense: Float32) -> None:
    for p in range(indptr[item], indptr[item + 1]):
        dense[terms[p]] = values[p]


@numba.njit(cache=True, nogil=True)
def _products(
    item: int, others: Int32, indptr: Int64, terms: Int32, values: Float32, dense: Float32
) -> Float32:
    """The product of the terms of an item with those of each other one; `dense` is zero again."""
    _scatter(item, indptr, terms, values, dense)
    products = np.zeros(len(others), np.float32)
    for place in range(len(others)):
        for p in range(indptr[others[place]], indptr[others[place] + 1]):
            products[place] += values[p] * dense[terms[p]]
    for p in range(indptr[item], indptr[item + 1]):
        dense[terms[p]] = 0.0
    return products


@numba.njit(cache=True, nogil=True)
def _nearest(touched: Int32, likeness: Float32, candidates: int) -> Int32:
    """The most similar items, ascending; ties by lower index."""
    order = np.sort(touched)
    values = likeness[order]
    if len(order) <= candidates:
        return order
    threshold = kth_largest(values, candidates)
    bits = values.view(np.uint32)
    ties = candidates
    for value in bits:
        if value > threshold:
            ties -= 1
    chosen = np.empty(candidates, np.int32)
    n = 0
    for place in range(len(order)):
        if bits[place] < threshold or (bits[place] == threshold and ties == 0):
            continue
        if bits[place] == threshold:
            ties -= 1
        chosen[n] = order[place]
        n += 1
    return chosen
