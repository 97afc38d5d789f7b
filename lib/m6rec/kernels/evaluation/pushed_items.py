"""Measure how far up pushed items stand in lists."""

from dataclasses import dataclass

import numpy as np

from m6rec.kernels.arrays.rows import Int32, Int64


@dataclass(frozen=True)
class Rise:
    """Where pushed items stand.

    Attributes:
        share: the share of the lists whose first K items hold a pushed one.
        mean_rank: the mean rank of the pushed items, where an item beyond the end of a list has
            the rank after it.
    """

    share: float
    mean_rank: float


@dataclass(frozen=True)
class RiseSums:
    """What some lists add to the rise of items.

    Attributes:
        lists: how many lists there are.
        hits: how many of them have a pushed item among the first K.
        ranks: the sum of the ranks of the pushed items in all lists.
    """

    lists: int
    hits: int
    ranks: int

    def rise(self, pushed: int) -> Rise:
        """Where so many pushed items stand in all of the lists."""
        return Rise(self.hits / self.lists, self.ranks / (self.lists * pushed))


def rise_sums(ranked: Int32, pushed: Int64, k: int) -> RiseSums:
    """Where the pushed items stand in some lists.

    Args:
        ranked: int32 [n, N], padded with -1.
        pushed: int64; the items.
        k: how many items of each list count for the share.
    """
    found = np.isin(ranked, pushed)
    ranks = np.broadcast_to(np.arange(1, ranked.shape[1] + 1), ranked.shape)
    beyond = (len(ranked) * len(pushed) - int(found.sum())) * (ranked.shape[1] + 1)
    hits = int(found[:, :k].any(axis=1).sum())
    return RiseSums(len(ranked), hits, int(ranks[found].sum()) + beyond)
