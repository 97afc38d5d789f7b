"""Compute local ridge item-item weights by one small regularised system for each target item.

Let w_u = d_u^-a and G0 = (diag(w) R)^T (diag(w) R) for the binary matrix R. Each target item j gets
candidates S_j: the co-occurring items i != j with the largest G0_ij / sqrt(d_i d_j). With
G = D^-b G0 D^-b the weights of the candidates solve

    (G_SS + lambda I) beta = G_Sj,    lambda = c mean(w_u^2) mean(d_i^-2b),

and B_ij = d_i^-b beta_i d_j^b. Negative weights are kept. Where all items are candidates, all
targets share one matrix, and one factorisation serves them all: with P = (G + lambda I)^-1 the
solution is beta_ij = -P_ij / P_jj for i != j (EASE: Steck 2019, "Embarrassingly Shallow
Autoencoders", equation 8).
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.linalg
import scipy.sparse as sp

from m6rec.errors import DataError
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows, indptr_of
from m6rec.kernels.arrays.selection import kth_largest, largest_in_rows
from m6rec.kernels.neighbours.item_neighbours import (
    FIXED_POINT,
    GramBlock,
    ItemWeights,
    gram_block,
    item_degrees,
    item_weights_from_scipy,
    normalised_entries,
    power,
    prune_rows,
    transpose,
)

# Up to this many items, the dense gram (100 MB in float32) and its inverse cost less than the local
# systems.
ALL_CANDIDATES_LIMIT = 5_000


@dataclass(frozen=True)
class Gram:
    """The pruned rows of G = D^-b G0 D^-b with their diagonal, which all targets' systems share.

    Attributes:
        indptr: int64 [M + 1].
        indices: int32 [entries]; ascending within a row.
        values: float32 [entries].
        degrees: float64 [M]; d_i.
    """

    indptr: Int64
    indices: Int32
    values: Float32
    degrees: Float64

    def __len__(self) -> int:
        return len(self.degrees)

    def dense(self) -> Float64:
        """float64 [M, M]."""
        parts = (self.values.astype(np.float64), self.indices, self.indptr)
        result: Float64 = sp.csr_matrix(parts, shape=(len(self), len(self))).toarray()
        return result


def ridge(
    rows: Rows,
    n_items: int,
    candidates: int,
    user_exponent: float,
    item_exponent: float,
    regularisation: float,
    kept: int,
) -> ItemWeights:
    """All weights on one machine; the stage computes the same by blocks. `rows` must be binary."""
    degrees = item_degrees(rows, n_items)
    scales = power(rows.counts.astype(np.float64), -2.0 * user_exponent)
    targets = np.arange(n_items, dtype=np.int32)
    block = gram_block(rows, scales, targets, n_items, unit=1.0)
    indptr, indices, values = pruned_gram_rows(block, degrees, item_exponent, n_items)
    gram = Gram(indptr, indices, values, degrees)
    mean_scale = float(scales[rows.counts > 0].mean()) if rows.entries else 0.0
    penalty = ridge_penalty(regularisation, mean_scale, degrees, item_exponent)
    if uses_all_candidates(n_items, candidates):
        return prune_rows(solve_all(gram, penalty, item_exponent), kept)
    by_target = solve_targets(gram, targets, candidates, penalty, item_exponent)
    return prune_rows(transpose(by_target), kept)


def uses_all_candidates(n_items: int, candidates: int) -> bool:
    """Whether every item is a candidate of every target."""
    return n_items <= max(candidates, ALL_CANDIDATES_LIMIT)


def ridge_penalty(
    regularisation: float, mean_squared_user_weight: float, degrees: Float64, item_exponent: float
) -> float:
    """lambda = c mean(w_u^2) mean(d_i^-2b), with means over users and items with interactions.

    Raises:
        DataError: no item has an interaction.
    """
    used = degrees[degrees > 0.0]
    if not len(used):
        raise DataError(
            "the user-item matrix of this fit has no interactions, expected at least one;"
            " check positive_minimum and the split"
        )
    return (
        regularisation * mean_squared_user_weight * float((used ** (-2.0 * item_exponent)).mean())
    )


def pruned_gram_rows(
    block: GramBlock, degrees: Float64, item_exponent: float, entries: int
) -> tuple[Int64, Int32, Float32]:
    """The block's rows of G: the diagonal and the `entries` largest by G0_ij / sqrt(d_i d_j).

    Returns:
        indptr int64 [B + 1], indices int32 (ascending within a row) and values float32.
    """
    ranking = normalised_entries(block, degrees, 1.0, 0.5)
    positions, counts = largest_in_rows(block.entries.indptr, ranking, entries)
    indptr, indices, data = _insert_diagonal(
        block.targets,
        block.diagonal,
        indptr_of(counts),
        block.entries.indices[positions],
        block.entries.data[positions],
    )
    scales = power(degrees, -item_exponent)
    of_target = np.repeat(scales[block.targets], np.diff(indptr))
    values = data / FIXED_POINT * scales[indices] * of_target
    return indptr, indices, values.astype(np.float32)


def solve_all(gram: Gram, penalty: float, item_exponent: float) -> ItemWeights:
    """The weights with all items as candidates, beta_ij = -P_ij / P_jj, by history item.

    Raises:
        DataError: the system is not positive definite.
    """
    system = gram.dense()
    system[np.diag_indices_from(system)] += penalty
    factor, failed = scipy.linalg.lapack.dpotrf(system, lower=1, overwrite_a=1)
    if not failed:
        inverse, failed = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError(
            f"the ridge system of {len(gram)} items is not positive definite with penalty"
            f" {penalty}; raise neighbours.ridge.regularisation"
        )
    lower = np.tril(inverse)
    inverse = lower + np.tril(lower, -1).T
    betas = -inverse / np.diag(inverse)
    weights = betas * power(gram.degrees, -item_exponent)[:, None]
    weights *= power(gram.degrees, item_exponent)
    np.fill_diagonal(weights, 0.0)
    return item_weights_from_scipy(sp.csr_matrix(weights.astype(np.float32)))


def solve_targets(
    gram: Gram, targets: Int32, candidates: int, penalty: float, item_exponent: float
) -> ItemWeights:
    """The weights of some targets: row t belongs to targets[t] and holds history items."""
    counts, indices, betas = _solve(
        gram.indptr,
        gram.indices,
        gram.values,
        np.ascontiguousarray(targets, dtype=np.int32),
        candidates,
        power(gram.degrees, item_exponent - 0.5).astype(np.float32),
        np.float32(penalty),
    )
    scales = power(gram.degrees, -item_exponent)
    of_target = np.repeat(power(gram.degrees, item_exponent)[targets], counts)
    weights = (betas * scales[indices] * of_target).astype(np.float32)
    return ItemWeights(indptr_of(counts), indices, weights)


@numba.njit(cache=True)
def _insert_diagonal(
    targets: Int32, diagonal: Int64, indptr: Int64, indices: Int32, data: Int64
) -> tuple[Int64, Int32, Int64]:
    n = len(targets)
    new_indptr = indptr + np.arange(n + 1)
    new_indices = np.empty(len(indices) + n, np.int32)
    new_data = np.empty(len(indices) + n, np.int64)
    for row in range(n):
        out = new_indptr[row]
        inserted = False
        for p in range(indptr[row], indptr[row + 1]):
            if not inserted and indices[p] > targets[row]:
                new_indices[out] = targets[row]
                new_data[out] = diagonal[row]
                out += 1
                inserted = True
            new_indices[out] = indices[p]
            new_data[out] = data[p]
            out += 1
        if not inserted:
            new_indices[out] = targets[row]
            new_data[out] = diagonal[row]
    return new_indptr, new_indices, new_data


@numba.njit(cache=True)
def _solve(
    indptr: Int64,
    indices: Int32,
    values: Float32,
    targets: Int32,
    candidates: int,
    ranking_scales: Float32,
    penalty: np.float32,
) -> tuple[Int64, Int32, Float32]:
    n_items = len(indptr) - 1
    place = np.full(n_items, -1, np.int32)
    system = np.empty((candidates, candidates), np.float32)
    right = np.empty(candidates, np.float32)
    chosen = np.empty(candidates, np.int32)
    counts = np.zeros(len(targets), np.int64)
    out_indices = np.empty(len(targets) * candidates, np.int32)
    out_betas = np.empty(len(targets) * candidates, np.float32)
    filled = 0
    for t in range(len(targets)):
        n = _choose(indptr, indices, values, targets[t], candidates, ranking_scales, chosen, right)
        _fill_system(indptr, indices, values, chosen[:n], place, system, penalty)
        betas = conjugate_gradient(system, right[:n])
        counts[t] = n
        out_indices[filled : filled + n] = chosen[:n]
        out_betas[filled : filled + n] = betas
        filled += n
    return counts, out_indices[:filled].copy(), out_betas[:filled].copy()


@numba.njit(cache=True)
def _choose(
    indptr: Int64,
    indices: Int32,
    values: Float32,
    target: int,
    candidates: int,
    ranking_scales: Float32,
    chosen: Int32,
    right: Float32,
) -> int:
    """Choose S_j and G_Sj, ascending by item, and return how many there are.

    For one j, G_ij d_i^(b - 1/2) orders the candidates as G0_ij / sqrt(d_i d_j) does.
    """
    start, stop = indptr[target], indptr[target + 1]
    ranking = np.empty(stop - start, np.float32)
    for p in range(start, stop):
        item = indices[p]
        ranking[p - start] = 0.0 if item == target else values[p] * ranking_scales[item]
    threshold = np.uint32(0)
    ties = stop - start
    if stop - start > candidates + 1:
        threshold = kth_largest(ranking, candidates)
        ties = candidates
        for value in ranking.view(np.uint32):
            if value > threshold:
                ties -= 1
    bits = ranking.view(np.uint32)
    n = 0
    for p in range(start, stop):
        value = bits[p - start]
        if indices[p] == target or value < threshold:
            continue
        if value == threshold:
            if ties == 0:
                continue
            ties -= 1
        chosen[n] = indices[p]
        right[n] = values[p]
        n += 1
    return n


@numba.njit(cache=True)
def _fill_system(
    indptr: Int64,
    indices: Int32,
    values: Float32,
    chosen: Int32,
    place: Int32,
    system: Float32,
    penalty: np.float32,
) -> None:
    """Fill in G_SS + lambda I; an entry counts where at least one of its two rows has kept it."""
    n = len(chosen)
    for a in range(n):
        place[chosen[a]] = a
        system[a, :n] = 0.0
    for a in range(n):
        for p in range(indptr[chosen[a]], indptr[chosen[a] + 1]):
            b = place[indices[p]]
            if b >= 0:
                system[a, b] = values[p]
                system[b, a] = values[p]
        system[a, a] += penalty
    for a in range(n):
        place[chosen[a]] = -1


@numba.njit(cache=True, fastmath=True, forceinline=True)
def conjugate_gradient(system: Float32, right: Float32) -> Float32:
    """Solve by conjugate gradient (Hestenes and Stiefel 1952) to a relative residual of 1e-4."""
    n = len(right)
    solution = np.zeros(n, np.float32)
    residual = right.copy()
    direction = right.copy()
    product = np.empty(n, np.float32)
    norm = np.float32(0.0)
    for a in range(n):
        norm += residual[a] * residual[a]
    stop = norm * np.float32(1e-8)
    for _ in range(100):
        if norm <= stop:
            break
        curvature = np.float32(0.0)
        for a in range(n):
            total = np.float32(0.0)
            for b in range(n):
                total += system[a, b] * direction[b]
            product[a] = total
            curvature += total * direction[a]
        if curvature <= 0.0:
            break
        step = norm / curvature
        new_norm = np.float32(0.0)
        for a in range(n):
            solution[a] += step * direction[a]
            residual[a] -= step * product[a]
            new_norm += residual[a] * residual[a]
        ratio = new_norm / norm
        for a in range(n):
            direction[a] = residual[a] + ratio * direction[a]
        norm = new_norm
    return solution
