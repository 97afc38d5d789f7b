"""Weigh the interactions of a history by recency, counted in the user's own interactions.

What a user did last says most about what comes next (Quadrana, Cremonesi, Jannach 2018, section
3.2). So a history item with r interactions after it weighs exp(-r / scale). As interactions are
counted instead of days, one scale serves users who come daily and users who come once a year.
"""

import numba
import numpy as np

from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import Float32, Int64


def recency_ranks(indptr: Int64, times: Int64) -> Float32:
    """For each interaction, how many of the same row came later: float32 [entries].

    Interactions at the same time share their mean rank, so their order in the row does not matter.
    Ranks are counted from the latest time, whose interactions have rank 0 however many they are.

    Args:
        indptr: int64 [n + 1] into times.
        times: int64 [entries] in any unit; `UNKNOWN_TIME` counts as the oldest.
    """
    ranks = np.empty(len(times), dtype=np.float32)
    _fill_ranks(*read_only(indptr, times), ranks)
    return ranks


def later_counts(indptr: Int64, times: Int64) -> Int64:
    """For each interaction, how many of the same row came strictly later: int64 [entries].

    Args:
        indptr, times: as in `recency_ranks`.
    """
    counts = np.empty(len(times), np.int64)
    _fill_later(*read_only(indptr, times), counts)
    return counts


def recent_weights(ranks: Float32, scale: float) -> Float32:
    """exp(-rank / scale), float32 [entries]; `scale` is in interactions."""
    weights: Float32 = np.exp(-ranks / np.float32(scale))
    return weights


@numba.njit(cache=True, nogil=True)
def _fill_later(indptr, times, counts):  # type: ignore[no-untyped-def]
    for row in range(len(indptr) - 1):
        own = times[indptr[row] : indptr[row + 1]]
        up_to = np.searchsorted(np.sort(own), own, side="right")
        counts[indptr[row] : indptr[row + 1]] = len(own) - up_to


@numba.njit(cache=True, nogil=True)
def _fill_ranks(indptr, times, ranks):  # type: ignore[no-untyped-def]
    for row in range(len(indptr) - 1):
        low, high = indptr[row], indptr[row + 1]
        order = np.argsort(times[low:high])
        size = high - low
        latest = size
        while latest > 0 and times[low + order[latest - 1]] == times[low + order[size - 1]]:
            latest -= 1
        of_latest = 0.5 * (size - latest - 1)
        start = 0
        while start < size:
            stop = start + 1
            while stop < size and times[low + order[stop]] == times[low + order[start]]:
                stop += 1
            later = size - stop
            for position in range(start, stop):
                ranks[low + order[position]] = later + 0.5 * (stop - start - 1) - of_latest
            start = stop
