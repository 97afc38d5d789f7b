"""Compute item-item weights from co-occurrence, by blocks of target items.

The gram row of a target item j is G_ij = sum_u c_u r_ui r_uj over the users u who have j. A block
of targets needs only the rows of users who have one of its items. So the cost is proportional to
interactions times history length, and the memory to one dense row and the entries found.

Sums are fixed-point integers, which are exact in any order. So neither the partitioning nor the
order of rows can change a neighbour.
"""

from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp

from m6rec.errors import DataError
from m6rec.kernels.arrays.hashing import hash_of_pair
from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64, Rows, indptr_of
from m6rec.kernels.arrays.selection import largest_in_rows

# The unit of sums as an integer, and what no sum may reach, so that an int64 holds it.
FIXED_POINT = float(2**32)
LARGEST_SUM = float(2**62)


@dataclass(frozen=True)
class ItemWeights:
    """A sparse item-item matrix B: row i, of a HISTORY item, holds the target items j and B_ij.

    A user's scores are a sum over the rows of the user's history:
    member(u, j) = sum over i in history of w_ui B_ij.

    Attributes:
        indptr: int64 [M + 1]; row i holds the entries indptr[i] up to indptr[i + 1].
        neighbour_indices: int32 [entries]; target items, ascending within a row.
        weights: float32 [entries]; may be negative.
    """

    indptr: Int64
    neighbour_indices: Int32
    weights: Float32

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def to_scipy(self) -> sp.csr_matrix:
        """The matrix B of shape [M, M]."""
        shape = (len(self), len(self))
        return sp.csr_matrix((self.weights, self.neighbour_indices, self.indptr), shape=shape)


@dataclass(frozen=True)
class GramBlock:
    """The gram rows of some target items in fixed point; the diagonal has an array of its own.

    Attributes:
        targets: int32 [B]; ascending.
        diagonal: int64 [B]; G_jj.
        entries: int64 [B, M] sparse; G_ij for i != j, columns ascending.
    """

    targets: Int32
    diagonal: Int64
    entries: sp.csr_matrix

    def __add__(self, other: "GramBlock") -> "GramBlock":
        """The gram rows over both sets of user rows."""
        return GramBlock(
            self.targets, self.diagonal + other.diagonal, (self.entries + other.entries).tocsr()
        )


def prune_rows(weights: ItemWeights, kept: int) -> ItemWeights:
    """Keep each row's `kept` entries of largest absolute weight, ties by lower index."""
    positions, counts = largest_in_rows(weights.indptr, np.abs(weights.weights), kept)
    return ItemWeights(
        indptr_of(counts), weights.neighbour_indices[positions], weights.weights[positions]
    )


def transpose(weights: ItemWeights) -> ItemWeights:
    """Exchange rows and columns: rows of history items become rows of targets, and back."""
    return item_weights_from_scipy(weights.to_scipy().T.tocsr())


def item_weights_from_scipy(matrix: sp.csr_matrix) -> ItemWeights:
    """The ItemWeights of a square SciPy matrix whose rows are history items."""
    ordered = matrix.tocsr().sorted_indices()
    return ItemWeights(
        ordered.indptr.astype(np.int64),
        ordered.indices.astype(np.int32),
        ordered.data.astype(np.float32),
    )


def item_neighbours(
    rows: Rows, n_items: int, neighbours: int, user_exponent: float, item_exponent: float
) -> ItemWeights:
    """Top-K normalised co-occurrence on one machine; the stage computes the same by blocks.

    sim_ij = G_ij / (d_i d_j)^item_exponent with G = (diag(d_u^-user_exponent) R)^T R, where d_u is
    a user's number of interactions and d_i an item's sum of weights. With exponents 0 and .5 this
    is the cosine of Deshpande and Karypis (2004, section 4.1.1). Each target keeps its K largest;
    the result is arranged by history item.
    """
    degrees = item_degrees(rows, n_items)
    unit = unit_of_sums(float(rows.weights.max(initial=0.0)), degrees)
    targets = np.arange(n_items, dtype=np.int32)
    block = gram_block(rows, user_scales(rows, user_exponent), targets, n_items, unit)
    by_target = similar_items(block, degrees, unit, neighbours, item_exponent)
    return transpose(by_target)


def similar_items(
    block: GramBlock, degrees: Float64, unit: float, neighbours: int, item_exponent: float
) -> ItemWeights:
    """The K largest sim_ij of each target of the block; row b belongs to block.targets[b].

    Args:
        block: gram rows.
        degrees: float64 [M]; d.
        unit: the `unit` of `gram_block` that made the block.
        neighbours: K.
        item_exponent: exponent of the degrees.
    """
    normalised = normalised_entries(block, degrees, unit, item_exponent)
    positions, counts = largest_in_rows(block.entries.indptr, normalised, neighbours)
    return ItemWeights(
        indptr_of(counts),
        block.entries.indices[positions].astype(np.int32),
        normalised[positions],
    )


def normalised_entries(
    block: GramBlock, degrees: Float64, unit: float, item_exponent: float
) -> Float32:
    """float32 [entries]: G_ij / (d_i d_j)^item_exponent in the order of block.entries."""
    scales = power(degrees, -item_exponent)
    of_target = np.repeat(scales[block.targets], np.diff(block.entries.indptr))
    values = block.entries.data * (unit / FIXED_POINT)
    normalised: Float32 = (values * scales[block.entries.indices] * of_target).astype(np.float32)
    return normalised


def gram_block(rows: Rows, scales: Float64, targets: Int32, n_items: int, unit: float) -> GramBlock:
    """The gram rows of `targets` in fixed point: G_ij = sum_u scales[u] r_ui r_uj.

    Args:
        rows: rows of users; those without a target add nothing.
        scales: float64 [n]; c_u of each row.
        targets: int32 [B]; ascending.
        unit: what FIXED_POINT stands for in the sums; see `unit_of_sums`.

    Raises:
        DataError: `unit` is not positive and finite.
    """
    if not (np.isfinite(unit) and unit > 0.0):
        raise DataError(
            f"largest contribution of an interaction is {unit}, expected a positive finite number;"
            " check the weights of user_item_matrix"
        )
    place = np.full(n_items, -1, dtype=np.int32)
    place[targets] = np.arange(len(targets), dtype=np.int32)
    starts, users, weights = _users_of_targets(
        rows.indptr, rows.item_indices, rows.weights, place, len(targets)
    )
    diagonal, indptr, indices, data = _gram_rows(
        starts,
        users,
        weights,
        rows.indptr,
        rows.item_indices,
        rows.weights,
        scales * (FIXED_POINT / unit),
        targets,
        n_items,
    )
    entries = sp.csr_matrix((data, indices, indptr), shape=(len(targets), n_items))
    entries.has_sorted_indices = True
    return GramBlock(targets, diagonal, entries)


def sample_long_rows(rows: Rows, maximum: int) -> Rows:
    """Cut rows of more than `maximum` interactions to a random sample of that size.

    The items with the smallest hash of (user, item) stay. They are the same wherever the row lies,
    and popular items are not favoured. Without the cut, a user with n items would cost n squared.
    """
    if not len(rows) or int(rows.counts.max()) <= maximum:
        return rows
    keep = _sampled(rows.user_index, rows.indptr, rows.item_indices, maximum)
    counts = np.minimum(rows.counts, maximum)
    return Rows(rows.user_index, indptr_of(counts), rows.item_indices[keep], rows.weights[keep])


def binary_rows(rows: Rows) -> Rows:
    """The same rows with every weight 1."""
    return Rows(rows.user_index, rows.indptr, rows.item_indices, np.ones_like(rows.weights))


def user_scales(rows: Rows, exponent: float) -> Float64:
    """float64 [n]: d_u^-exponent, where d_u is the number of interactions of a row."""
    return power(rows.counts.astype(np.float64), -exponent)


def item_degrees(rows: Rows, n_items: int) -> Float64:
    """float64 [M]: the sum of each item's weights."""
    degrees = np.bincount(rows.item_indices, weights=rows.weights, minlength=n_items)
    return degrees.astype(np.float64)


def unit_of_sums(largest_weight: float, degrees: Float64) -> float:
    """What FIXED_POINT stands for in sums of c_u r_ui r_uj with c_u <= 1.

    It is as small as sums allow, so that one large weight leaves the products of small ones: with
    the largest weight W, G_ij <= W d_j, which has to stay below LARGEST_SUM.

    Args:
        largest_weight: W.
        degrees: float64 [M]; d, the sum of each item's weights.
    """
    largest_sum = largest_weight * float(degrees.max(initial=0.0))
    return min(largest_weight**2, largest_sum * (FIXED_POINT / LARGEST_SUM)) or 1.0


def power(values: Float64, exponent: float) -> Float64:
    """values^exponent, and 0 where the value is 0: an item that nobody has takes no part."""
    positive = values > 0.0
    result: Float64 = np.where(positive, np.where(positive, values, 1.0) ** exponent, 0.0)
    return result


@numba.njit(cache=True)
def _users_of_targets(
    indptr: Int64, items: Int32, weights: Float32, place: Int32, n_targets: int
) -> tuple[Int64, Int64, Float32]:
    """For each target, the rows that hold it and its weights there, in the order of the rows."""
    starts = np.zeros(n_targets + 1, np.int64)
    for item in items:
        if place[item] >= 0:
            starts[place[item] + 1] += 1
    for target in range(n_targets):
        starts[target + 1] += starts[target]
    cursor = starts[:-1].copy()
    users = np.empty(starts[-1], np.int64)
    column_weights = np.empty(starts[-1], np.float32)
    for row in range(len(indptr) - 1):
        for p in range(indptr[row], indptr[row + 1]):
            target = place[items[p]]
            if target >= 0:
                users[cursor[target]] = row
                column_weights[cursor[target]] = weights[p]
                cursor[target] += 1
    return starts, users, column_weights


@numba.njit(cache=True)
def _gram_rows(
    starts: Int64,
    users: Int64,
    column_weights: Float32,
    indptr: Int64,
    items: Int32,
    weights: Float32,
    scales: Float64,
    targets: Int32,
    n_items: int,
) -> tuple[Int64, Int64, Int32, Int64]:
    n_targets = len(targets)
    capacity = 0
    for target in range(n_targets):
        cost = 0
        for q in range(starts[target], starts[target + 1]):
            cost += indptr[users[q] + 1] - indptr[users[q]]
        capacity += min(cost, n_items)
    row_sums = np.zeros(n_items, np.int64)
    touched = np.empty(n_items, np.int32)
    diagonal = np.zeros(n_targets, np.int64)
    ends = np.zeros(n_targets + 1, np.int64)
    indices = np.empty(capacity, np.int32)
    data = np.empty(capacity, np.int64)
    filled = 0
    for target in range(n_targets):
        n_touched = 0
        for q in range(starts[target], starts[target + 1]):
            row = users[q]
            scale = scales[row] * column_weights[q]
            for p in range(indptr[row], indptr[row + 1]):
                item = items[p]
                addend = np.int64(scale * weights[p] + 0.5)
                if addend > 0:
                    if row_sums[item] == 0:
                        touched[n_touched] = item
                        n_touched += 1
                    row_sums[item] += addend
        _sort_touched(touched, n_touched, row_sums)
        for t in range(n_touched):
            item = touched[t]
            if item == targets[target]:
                diagonal[target] = row_sums[item]
            else:
                indices[filled] = item
                data[filled] = row_sums[item]
                filled += 1
            row_sums[item] = 0
        ends[target + 1] = filled
    return diagonal, ends, indices[:filled].copy(), data[:filled].copy()


@numba.njit(cache=True)
def _sort_touched(touched: Int32, n_touched: int, row_sums: Int64) -> None:
    """Sort the touched items; where many are touched, a walk over all items is faster."""
    if n_touched * 16 <= len(row_sums):
        touched[:n_touched].sort()
        return
    filled = 0
    for item in range(len(row_sums)):
        if row_sums[item] > 0:
            touched[filled] = item
            filled += 1


@numba.njit(cache=True)
def _sampled(user_index: Int64, indptr: Int64, items: Int32, maximum: int) -> Int64:
    keep = np.empty(len(items), np.int64)
    filled = 0
    for row in range(len(user_index)):
        start, stop = indptr[row], indptr[row + 1]
        if stop - start <= maximum:
            for p in range(start, stop):
                keep[filled] = p
                filled += 1
            continue
        hashes = np.empty(stop - start, np.uint64)
        for p in range(start, stop):
            hashes[p - start] = hash_of_pair(user_index[row], items[p])
        chosen = np.sort(np.argsort(hashes)[:maximum])
        for p in chosen:
            keep[filled] = start + p
            filled += 1
    return keep[:filled]
