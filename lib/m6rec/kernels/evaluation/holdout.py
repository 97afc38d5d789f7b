"""Choose which of each user's pairs are held out, by an order, and what each fit knows then."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Int64, indptr_of

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOutQuota:
    """How many of a user's n pairs are held out.

    It is floor(share n), but at least 1 where n is 2 or more. Where a number of items is set, it is
    this number, but at most n - 1.
    """

    share: float
    items: int | None = None

    def of(self, counts: Int64) -> Int64:
        """int64 [users], for users with so many pairs."""
        if self.items is None and self.share == 0.0:
            return np.zeros_like(counts)
        asked = np.maximum(np.floor(counts * self.share).astype(np.int64), 1)
        if self.items is not None:
            asked = np.full_like(counts, self.items)
        return np.where(counts >= 2, np.minimum(asked, counts - 1), 0)


def first_of_rows(
    rows: Int64,
    eligible: Bools,
    order: Int64,
    ties: npt.NDArray[Any],
    n_rows: int,
    quota: HeldOutQuota,
) -> Bools:
    """Flag the first eligible entries of each row in an order, as many as the quota says.

    Args:
        rows: int64 [entries]; the row of each entry, ascending.
        eligible: bool [entries].
        order, ties: int64 and any whole numbers [entries]; the lowest come first.
        n_rows: how many rows there are.
        quota: counts the eligible entries of a row.

    Returns:
        bool [entries].
    """
    places = np.flatnonzero(eligible)
    of_row = rows[places]
    counts = np.bincount(of_row, minlength=n_rows)
    sorted_places = places[np.lexsort((ties[places], order[places], of_row))]
    within = np.arange(len(places)) - indptr_of(counts)[:-1][of_row]
    held: Bools = np.zeros(len(rows), dtype=np.bool_)
    held[sorted_places[within < quota.of(counts)[of_row]]] = True
    return held


def known_in(rows: Int64, items: Int64, folds: npt.NDArray[Any], of_fit: tuple[int, ...]) -> Bools:
    """Flag the entries that a fit knows; of several of one pair, that of its latest fold.

    Args:
        rows, items, folds: [entries]; sorted by row, then item, then fold.
        of_fit: the folds of the fit.
    """
    known: Bools = np.isin(folds, of_fit)
    same_pair = (rows[1:] == rows[:-1]) & (items[1:] == items[:-1])
    known[:-1] &= ~(same_pair & known[1:])
    return known
