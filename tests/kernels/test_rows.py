"""Rows of the user-item matrix: sliced, taken and put together."""

import numpy as np
import pytest
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import Rows, concatenate_rows, entries_of_rows, indptr_of
from tests.matrix_rows import rows_from_scipy

DENSE = np.array([[0, 2, 0], [0, 0, 0], [1, 0, 3], [4, 0, 0]], dtype=np.float32)
ROWS = rows_from_scipy(sp.csr_matrix(DENSE), np.array([3, 5, 8, 9]))


def dense(rows: Rows) -> list[list[float]]:
    found: list[list[float]] = rows.to_scipy(3).toarray().tolist()
    return found


@pytest.mark.parametrize("counts", [[], [0], [2, 0, 3]])
def test_indptr_starts_at_zero_and_ends_at_the_number_of_entries(counts: list[int]) -> None:
    indptr = indptr_of(counts)
    assert indptr.dtype == np.int64
    assert np.diff(indptr).tolist() == counts
    assert (indptr[0], indptr[-1]) == (0, sum(counts))


def test_entries_of_rows_follow_the_order_of_the_rows() -> None:
    indptr, entries = entries_of_rows(np.array([0, 2, 2, 5]), np.array([2, 1, 0]))
    assert indptr.tolist() == [0, 3, 3, 5]
    assert entries.tolist() == [2, 3, 4, 0, 1]


@pytest.mark.parametrize("places", [[], [2], [3, 1, 0], [2, 2]])
def test_taken_rows_come_in_the_order_of_their_places(places: list[int]) -> None:
    taken = ROWS.take(np.array(places, dtype=np.int64))
    assert taken.user_index.tolist() == [ROWS.user_index[place] for place in places]
    assert dense(taken) == [DENSE[place].tolist() for place in places]


def test_slices_put_together_are_the_whole() -> None:
    whole = concatenate_rows([ROWS.slice(0, 1), ROWS.slice(1, 3), ROWS.slice(3, 4)])
    assert dense(whole) == DENSE.tolist()
    assert whole.user_index.tolist() == ROWS.user_index.tolist()
    assert len(concatenate_rows([])) == 0
