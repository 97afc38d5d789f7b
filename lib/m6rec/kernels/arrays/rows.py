"""Hold rows of the user-item matrix as arrays, and cut, choose and join them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
# Stands in a matrix of item indices where there is no item.
NO_ITEM = -1
# Stands for the time of an interaction without one.
UNKNOWN_TIME = np.iinfo(np.int64).min


def indptr_of(counts: npt.ArrayLike) -> Int64:
    """int64 [n + 1]: where rows with these numbers of entries start and end."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(counts, dtype=np.int64))])


def entries_of_rows(indptr: Int64, rows: Int64) -> tuple[Int64, Int64]:
    """Where the entries of chosen rows are, row by row.

    Args:
        indptr: int64 [n + 1].
        rows: int64 [m]; the chosen rows, in any order.

    Returns:
        The chosen rows' own indptr, int64 [m + 1], and the positions of their entries, int64.
    """
    counts = np.diff(indptr)[rows]
    own = indptr_of(counts)
    return own, np.arange(own[-1]) + np.repeat(indptr[rows] - own[:-1], counts)


def slices_of_rows(indptr: Int64, entries: int) -> Iterator[tuple[int, int]]:
    """Starts and stops of slices of at most `entries` entries, or of one row that has more.

    Args:
        indptr: int64 [n + 1].
        entries: the most entries of a slice of several rows.
    """
    start = 0
    while start < len(indptr) - 1:
        limit = indptr[start] + entries
        stop = max(start + 1, int(np.searchsorted(indptr, limit, side="right")) - 1)
        yield start, stop
        start = stop


@dataclass(frozen=True)
class Rows:
    """A block of rows of the user-item matrix in compressed sparse row form.

    Attributes:
        user_index: int64 [n]; the dense index of each row's user.
        indptr: int64 [n + 1]; row r holds the entries indptr[r] up to indptr[r + 1].
        item_indices: int32 [entries]; ascending within a row.
        weights: float32 [entries]; non-negative.
    """

    user_index: Int64
    indptr: Int64
    item_indices: Int32
    weights: Float32

    def __len__(self) -> int:
        return len(self.user_index)

    @property
    def entries(self) -> int:
        """How many interactions the block holds."""
        return len(self.item_indices)

    @property
    def counts(self) -> Int64:
        """int64 [n]: interactions of each row."""
        return np.diff(self.indptr)

    def slice(self, start: int, stop: int) -> "Rows":
        """The rows from start up to stop."""
        low, high = self.indptr[start], self.indptr[stop]
        return Rows(
            self.user_index[start:stop],
            self.indptr[start : stop + 1] - low,
            self.item_indices[low:high],
            self.weights[low:high],
        )

    def take(self, places: Int64) -> "Rows":
        """The rows at `places`, int64 [m], in that order."""
        indptr, entries = entries_of_rows(self.indptr, places)
        return Rows(
            self.user_index[places], indptr, self.item_indices[entries], self.weights[entries]
        )

    def to_scipy(self, n_items: int) -> sp.csr_matrix:
        """The block as a SciPy matrix of shape [n, n_items]."""
        return sp.csr_matrix(
            (self.weights, self.item_indices, self.indptr), shape=(len(self), n_items)
        )


def concatenate_rows(blocks: list[Rows]) -> Rows:
    """One block of the rows of all blocks, in order; no blocks give an empty one."""
    if not blocks:
        return Rows(
            np.empty(0, np.int64),
            np.zeros(1, np.int64),
            np.empty(0, np.int32),
            np.empty(0, np.float32),
        )
    return Rows(
        np.concatenate([block.user_index for block in blocks]),
        indptr_of(np.concatenate([block.counts for block in blocks])),
        np.concatenate([block.item_indices for block in blocks]),
        np.concatenate([block.weights for block in blocks]),
    )
