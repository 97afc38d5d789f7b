"""Categories of items, such as genres or a brand, and the mixes of lists and histories.

The mix of a list is q(g) = 1/n Σ_i p(g|i) over its n items that have a category, where an item
spreads evenly over its categories. The mix of a history is the same mean, weighted by the weights
of the user's interactions.
"""

from dataclasses import dataclass

import numba
import numpy as np

from m6rec.kernels.arrays.rows import Int32, Int64, indptr_of

# How much of the user's own mix is put into that of a list, so that a category that the list lacks
# costs much and not infinitely much (Steck 2018, "Calibrated recommendations").
OWN_SHARE = 0.01


@dataclass(frozen=True)
class ItemCategories:
    """The categories of items as a sparse binary matrix.

    Attributes:
        indptr: int64 [items + 1] into indices.
        indices: int32 [entries]; ascending within an item.
        count: how many categories there are.
    """

    indptr: Int64
    indices: Int32
    count: int


def item_categories(items: Int64, categories: Int32, n_items: int, count: int) -> ItemCategories:
    """The pairs of an item and one of its categories as a matrix; a pair may stand there twice.

    Args:
        items, categories: int64 and int32 [pairs].
        n_items: number of dense item indices.
        count: number of categories.
    """
    cells = np.unique(items * max(count, 1) + categories)
    item, category = np.divmod(cells, max(count, 1))
    indptr = indptr_of(np.bincount(item, minlength=n_items))
    return ItemCategories(indptr, category.astype(np.int32), count)


def no_categories(n_items: int) -> ItemCategories:
    """Items without any category."""
    return ItemCategories(np.zeros(n_items + 1, np.int64), np.empty(0, np.int32), 0)


@numba.njit(cache=True, nogil=True)
def add_item_to_mix(indptr, indices, item, weight, mix):  # type: ignore[no-untyped-def]
    """Spread a weight evenly over an item's categories; it returns the weight that was spread."""
    start, stop = indptr[item], indptr[item + 1]
    if start == stop:
        return 0.0
    for place in range(start, stop):
        mix[indices[place]] += weight / (stop - start)
    return weight


@numba.njit(cache=True, nogil=True)
def clear_mix(indptr, indices, items, mix):  # type: ignore[no-untyped-def]
    """Set the categories of items to 0, without a pass over all categories."""
    for item in items:
        if item >= 0:
            for place in range(indptr[item], indptr[item + 1]):
                mix[indices[place]] = 0.0


@numba.njit(cache=True, nogil=True)
def term_of_divergence(own, listed):  # type: ignore[no-untyped-def]
    """What one category adds to KL(own || smoothed mix of the list)."""
    if own == 0.0:
        return 0.0
    return own * np.log(own / ((1.0 - OWN_SHARE) * listed + OWN_SHARE * own))
