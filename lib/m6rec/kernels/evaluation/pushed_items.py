"""Measure how far the items rise in lists that somebody has pushed."""

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


def rise_of_items(ranked: Int32, pushed: Int64, k: int) -> Rise:
    """Where the pushed items stand in lists.

    Args:
        ranked: int32 [n, N], padded with -1.
        pushed: int64; the items.
        k: how many items of each list count for the share.
    """
    found = np.isin(ranked, pushed)
    ranks = np.broadcast_to(np.arange(1, ranked.shape[1] + 1), ranked.shape)
    places = len(ranked) * len(pushed)
    beyond = (places - int(found.sum())) * (ranked.shape[1] + 1)
    return Rise(
        float(found[:, :k].any(axis=1).mean()), float((ranks[found].sum() + beyond) / places)
    )
