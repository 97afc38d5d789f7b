"""Find each user's nearest neighbours among candidate users.

In small data all users are candidates ("landmarks"), in large data a bounded sample is. So the
candidates' rows can be shipped as an item-side matrix, and the neighbours of any user, known or
new, follow from a product of the user's row and that matrix. The similarity is a cosine in which
popular items are damped:

    sim(u, v) = sum_i r_ui r_vi d_i^-e / (|u| |v|),  |u|^2 = sum_i r_ui^2 d_i^-e,

where d_i is the number of candidates that have i. Breese, Heckerman and Kadie (1998) damp by the
logarithm ("inverse user frequency"); the power is the same idea with one parameter.
"""

from dataclasses import dataclass

import numba
import numpy as np

from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows, indptr_of
from m6rec.kernels.arrays.selection import largest_in_rows

# Bounds the similarities held at once: this many users times the number of candidates.
_USERS_PER_BLOCK = 256


@dataclass(frozen=True)
class CandidateUsers:
    """The rows of the users that may be neighbours.

    Attributes:
        rows: ascending by user_index.
    """

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class UserNeighbours:
    """The neighbours of a block of users.

    Attributes:
        indptr: int64 [n + 1].
        candidate_indices: int32 [entries]; places among the candidates, ascending within a row.
        weights: float32 [entries]; similarities, positive.
    """

    indptr: Int64
    candidate_indices: Int32
    weights: Float32


@dataclass(frozen=True)
class UserNeighbourSearch:
    """The candidates' rows, arranged for finding the neighbours of users.

    Attributes:
        candidates: the users that may be neighbours.
        by_item_indptr: int64 [M + 1]; the candidates' rows transposed: item i holds the entries
            by_item_indptr[i] up to by_item_indptr[i + 1].
        by_item_indices: int32 [entries]; candidates, ascending within an item.
        by_item_values: float32 [entries]; r_vi d_i^-e / |v|.
        item_damping: float32 [M]; d_i^-e.
        neighbours: how many to find.
    """

    candidates: CandidateUsers
    by_item_indptr: Int64
    by_item_indices: Int32
    by_item_values: Float32
    item_damping: Float32
    neighbours: int

    @property
    def n_items(self) -> int:
        """The number of items, M."""
        return len(self.by_item_indptr) - 1

    def find(self, rows: Rows) -> UserNeighbours:
        """The most similar candidates of each user, without the user; ties by lower index."""
        blocks = [
            self._find_block(rows.slice(start, min(start + _USERS_PER_BLOCK, len(rows))))
            for start in range(0, len(rows), _USERS_PER_BLOCK)
        ]
        counts = [np.diff(block.indptr) for block in blocks]
        return UserNeighbours(
            indptr_of(np.concatenate([np.empty(0, np.int64), *counts])),
            np.concatenate([np.empty(0, np.int32), *(block.candidate_indices for block in blocks)]),
            np.concatenate([np.empty(0, np.float32), *(block.weights for block in blocks)]),
        )

    def _find_block(self, rows: Rows) -> UserNeighbours:
        read = read_only(
            rows.user_index,
            rows.indptr,
            rows.item_indices,
            rows.weights,
            self.item_damping,
            self.candidates.rows.user_index,
            self.by_item_indptr,
            self.by_item_indices,
            self.by_item_values,
        )
        indptr, positions, values = _similarities(*read)
        kept, counts = largest_in_rows(indptr, values, self.neighbours)
        return UserNeighbours(indptr_of(counts), positions[kept], values[kept])


def user_neighbour_search(
    candidates: CandidateUsers, n_items: int, neighbours: int, item_exponent: float
) -> UserNeighbourSearch:
    """Arrange the candidates' rows by item, so that a search reads only the user's own items."""
    rows = candidates.rows
    degrees = np.maximum(np.bincount(rows.item_indices, minlength=n_items), 1).astype(np.float64)
    damping = degrees**-item_exponent
    matrix = rows.to_scipy(n_items).astype(np.float64)
    norms = np.sqrt(matrix.multiply(matrix) @ damping)
    values = matrix.data * damping[rows.item_indices]
    values /= np.repeat(np.where(norms > 0.0, norms, 1.0), rows.counts)
    matrix.data = values
    by_item = matrix.tocsc().sorted_indices()
    return UserNeighbourSearch(
        candidates,
        by_item.indptr.astype(np.int64),
        by_item.indices.astype(np.int32),
        by_item.data.astype(np.float32),
        damping.astype(np.float32),
        neighbours,
    )


@numba.njit(cache=True, nogil=True)
def _similarities(
    user_index: Int64,
    indptr: Int64,
    items: Int32,
    weights: Float32,
    item_damping: Float32,
    candidate_users: Int64,
    by_item_indptr: Int64,
    by_item_indices: Int32,
    by_item_values: Float32,
) -> tuple[Int64, Int32, Float32]:
    n = len(user_index)
    n_candidates = len(candidate_users)
    sums = np.zeros(n_candidates, np.float32)
    ends = np.zeros(n + 1, np.int64)
    capacity = max(1, n_candidates)
    positions = np.empty(capacity, np.int32)
    values = np.empty(capacity, np.float32)
    filled = 0
    for row in range(n):
        squared_norm = 0.0
        for p in range(indptr[row], indptr[row + 1]):
            item = items[p]
            squared_norm += np.float64(weights[p]) * weights[p] * item_damping[item]
            for q in range(by_item_indptr[item], by_item_indptr[item + 1]):
                sums[by_item_indices[q]] += weights[p] * by_item_values[q]
        if filled + n_candidates > capacity:
            capacity = 2 * capacity + n_candidates
            positions = _grown(positions, capacity)
            values = _grown(values, capacity)
        for candidate in range(n_candidates):
            if sums[candidate] > 0.0:
                if candidate_users[candidate] != user_index[row]:
                    positions[filled] = candidate
                    values[filled] = sums[candidate] / np.sqrt(squared_norm)
                    filled += 1
                sums[candidate] = 0.0
        ends[row + 1] = filled
    return ends, positions[:filled].copy(), values[:filled].copy()


@numba.njit(cache=True)
def _grown(array, capacity):  # type: ignore[no-untyped-def]
    larger = np.empty(capacity, array.dtype)
    larger[: len(array)] = array
    return larger
