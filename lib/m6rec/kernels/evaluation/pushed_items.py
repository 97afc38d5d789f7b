"""Measure how far up pushed items stand in lists."""

from dataclasses import dataclass

import numpy as np

from m6rec.kernels.arrays.rows import Int32, Int64


@dataclass(frozen=True)
class Rise:
    """Where pushed items stand.

    Attributes:
        share: the share of the lists whose first K items hold a pushed one.
        mean_rank: the mean rank of the pushed items in the lists of users who do not have them,
            where an item beyond the end of a list has the rank after the longest one.
    """

    share: float
    mean_rank: float


@dataclass(frozen=True)
class RiseSums:
    """What some lists add to the rise of items.

    Attributes:
        lists: how many lists there are.
        hits: how many of them have a pushed item among the first K.
        pairs: how many pairs of a list and a pushed item there are that its user does not have.
        ranks: the sum of the ranks of these items in these lists.
    """

    lists: int
    hits: int
    pairs: int
    ranks: int

    def rise(self) -> Rise:
        """Where the pushed items stand in all of the lists."""
        return Rise(self.hits / self.lists, self.ranks / max(self.pairs, 1))


def rise_sums(ranked: Int32, pushed: Int64, pairs: int, k: int) -> RiseSums:
    """Where the pushed items stand in some lists.

    Args:
        ranked: int32 [n, N], padded with -1; no list has what its user has.
        pushed: int64; the items, but for those that no list has.
        pairs: those of a list and a pushed item that its user does not have.
        k: how many items of each list count for the share.
    """
    found = np.isin(ranked, pushed)
    ranks = np.broadcast_to(np.arange(1, ranked.shape[1] + 1), ranked.shape)
    beyond = (pairs - int(found.sum())) * (ranked.shape[1] + 1)
    hits = int(found[:, :k].any(axis=1).sum())
    return RiseSums(len(ranked), hits, pairs, int(ranks[found].sum()) + beyond)
