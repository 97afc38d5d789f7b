"""Find users who may have nearly the same items, and users whose times are too regular.

Two sets with Jaccard similarity s have the same minimum of a random hash with probability s (Broder
1997, "On the resemblance and containment of documents"). A band is a hash of `_ROWS` minima, on
which two sets agree with probability s^4, and on at least one of `_BANDS` bands with 1 - (1 -
s^4)^16: .64 at s = .5, .9998 at s = .8.
"""

from itertools import pairwise

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.hashing import INCREMENT, mix_bits_of_one
from m6rec.kernels.arrays.rows import Float64, Int64

_DAY, _HOUR = 86_400, 3_600
# To what times are usually rounded, in seconds.
_ROUNDINGS = (_HOUR, 1_800, 900, 600, 300, 60, 1)
_BANDS = 16
_ROWS = 4


def bands_of_sets(indptr: Int64, items: Int64) -> Int64:
    """int64 [n, bands]: hashes, of which similar sets have one or more in common.

    Args:
        indptr: int64 [n + 1] into items.
        items: int64; hashes of the items of each set; no set is empty.
    """
    bands = np.empty((len(indptr) - 1, _BANDS), np.uint64)
    _fill_bands(indptr, items.view(np.uint64), bands)
    return bands.view(np.int64)


def most_common_gap(indptr: Int64, times: Int64) -> tuple[Float64, Int64, Int64]:
    """How regular times are: the share of the most common gap, how many there are, its length.

    Times that are equal have no gap: what is entered at once says nothing of regularity.

    Args:
        indptr: int64 [n + 1] into times.
        times: int64; the times of each user, in any order and unit.

    Returns:
        float64 [n], int64 [n] and int64 [n], all 0 where there is no gap.
    """
    n = len(indptr) - 1
    shares, counts, lengths = np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for user, (start, stop) in enumerate(pairwise(indptr)):
        gaps = np.diff(np.unique(times[start:stop]))
        counts[user] = len(gaps)
        if len(gaps):
            found, occurrences = np.unique(gaps, return_counts=True)
            lengths[user] = found[occurrences.argmax()]
            shares[user] = occurrences.max() / len(gaps)
    return shares, counts, lengths


def rounding_of_times(indptr: Int64, seconds: Int64) -> Int64:
    """int64 [n]: the longest usual unit of time of which all gaps of a user are multiples.

    Args:
        indptr: int64 [n + 1] into seconds.
        seconds: int64; the times of each user.
    """
    found = np.empty(len(indptr) - 1, np.int64)
    for user, (start, stop) in enumerate(pairwise(indptr)):
        divisor = np.gcd.reduce(np.diff(np.unique(seconds[start:stop])))
        found[user] = next(unit for unit in _ROUNDINGS if divisor % unit == 0)
    return found


def are_dates(indptr: Int64, seconds: Int64) -> npt.NDArray[np.bool_]:
    """bool [n]: whether a user's times may be dates, which lie one or more whole days apart.

    A day on which summer begins or ends has an hour less or more.

    Args:
        indptr: int64 [n + 1] into seconds.
        seconds: int64; the times of each user.
    """
    found = np.zeros(len(indptr) - 1, np.bool_)
    for user, (start, stop) in enumerate(pairwise(indptr)):
        gaps = np.diff(np.unique(seconds[start:stop]))
        whole_days = np.isin(gaps % _DAY, (0, _HOUR, _DAY - _HOUR))
        found[user] = (whole_days & (gaps >= _DAY - _HOUR)).all()
    return found


@numba.njit(cache=True, nogil=True)
def _fill_bands(indptr, items, bands):  # type: ignore[no-untyped-def]
    largest = np.uint64(0xFFFFFFFFFFFFFFFF)
    for user in range(len(indptr) - 1):
        for band in range(_BANDS):
            joined = np.uint64(0)
            for row in range(_ROWS):
                least = largest
                for place in range(indptr[user], indptr[user + 1]):
                    least = min(least, _joined(np.uint64(band * _ROWS + row), items[place]))
                joined = _joined(joined, least)
            bands[user, band] = joined


@numba.njit(cache=True, nogil=True)
def _joined(first, second):  # type: ignore[no-untyped-def]
    """A hash of two hashes."""
    return mix_bits_of_one(first * INCREMENT + second + INCREMENT)
