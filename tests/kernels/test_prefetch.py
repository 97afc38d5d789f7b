"""A prefetch is in the compiled code, and changes nothing."""

import numpy as np
from numba import njit

from m6rec.kernels.arrays.prefetch import _prefetch, prefetch_row


@njit
def _first_after_prefetch(vectors, row):  # type: ignore[no-untyped-def]
    _prefetch(vectors, row, 0)
    return vectors[row, 0]


def test_the_processor_is_told_of_the_line() -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert _first_after_prefetch(vectors, 2) == 4.0
    (code,) = _first_after_prefetch.inspect_asm().values()
    assert "prefetch" in code or "prfm" in code


def test_rows_of_any_width_stay_as_they_are() -> None:
    for width in (0, 1, 16, 17, 64):
        vectors = np.arange(3 * width, dtype=np.float32).reshape(3, width)
        before = vectors.copy()
        prefetch_row(vectors, 2)
        np.testing.assert_array_equal(vectors, before)
