"""Compute item-item weights from what came next in users' histories, in the order of time.

Of two items of a user, i earlier and j later by d <= window steps, the pair (i, j) gets 1 / d:

    T_ij = sum over users of 1 / d_u(i, j),    B_ij = T_ij / (out_i^a in_j^b)

with out_i = sum_j T_ij and in_j = sum_i T_ij. So B is directed: it says what follows i, and not
what precedes it. Transitions with skips are those of Shani, Heckerman and Brafman (2005, "An
MDP-based recommender system"), and a and b are .5 unless set.

A step is a difference of ranks by recency. Interactions at the same time share their mean rank, so
they are no transition to each other, and it does not matter how items are numbered. This also keeps
the cost linear: however many share a time, at most 2 window interactions lie within `window` steps.

Sums are fixed-point integers, which are exact in any order. So neither the partitioning nor the
order of rows can change a weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp

from m6rec.kernels.arrays.recency import UNKNOWN_TIME, recency_ranks
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows, indptr_of
from m6rec.kernels.arrays.selection import largest_in_rows
from m6rec.kernels.neighbours.item_neighbours import FIXED_POINT, ItemWeights, power


@dataclass(frozen=True)
class Transitions:
    """Transitions of some users one by one; a pair of items may stand here many times.

    Attributes:
        history_items: int32 [n]; i, what came earlier.
        targets: int32 [n]; j, what came later.
        amounts: int64 [n]; 1 / d in fixed point.
    """

    history_items: Int32
    targets: Int32
    amounts: Int64

    def __len__(self) -> int:
        return len(self.amounts)

    def sums(self, n_items: int) -> sp.csr_matrix:
        """int64 [M, M] sparse: T in fixed point, columns ascending."""
        pairs = sp.coo_matrix(
            (self.amounts, (self.history_items, self.targets)), shape=(n_items, n_items)
        )
        sums = pairs.tocsr()
        sums.sort_indices()
        return sums

    def totals(self, n_items: int) -> "TransitionTotals":
        """The sums of all transitions from each item and to each item."""
        totals = TransitionTotals(np.zeros(n_items, np.int64), np.zeros(n_items, np.int64))
        np.add.at(totals.outgoing, self.history_items, self.amounts)
        np.add.at(totals.incoming, self.targets, self.amounts)
        return totals


@dataclass(frozen=True)
class TransitionTotals:
    """How much follows each item, and how much it follows others, in fixed point.

    Attributes:
        outgoing: int64 [M]; out.
        incoming: int64 [M]; in.
    """

    outgoing: Int64
    incoming: Int64


def transitions(
    rows: Rows,
    times: Int64,
    n_items: int,
    window: int,
    kept: int,
    history_exponent: float,
    target_exponent: float,
    maximum_history: int,
) -> ItemWeights:
    """All weights on one machine; the stage computes the same by blocks.

    Args:
        rows: the users' histories; their weights do not matter.
        times: int64 [entries of rows]; an interaction of `UNKNOWN_TIME` takes no part.
        n_items: M.
        window: the most steps between the two items of a transition.
        kept: how many weights of a history item are kept, the largest first.
        history_exponent: a.
        target_exponent: b.
        maximum_history: of a longer history, the latest interactions are looked at.
    """
    found = transitions_of(rows, times, window, maximum_history)
    totals = found.totals(n_items)
    return transition_weights(found.sums(n_items), totals, kept, history_exponent, target_exponent)


def transitions_of(rows: Rows, times: Int64, window: int, maximum_history: int) -> Transitions:
    """The transitions of some users; arguments as those of `transitions`."""
    ranks = recency_ranks(rows.indptr, times)
    # What has no time counts as the oldest, so that leaving it out changes no other rank.
    taking_part = (times != UNKNOWN_TIME) & (ranks < maximum_history)
    return Transitions(*_transitions(rows.indptr, rows.item_indices, ranks, taking_part, window))


def concatenate_transitions(parts: Sequence[Transitions]) -> Transitions:
    """The transitions of all parts, in order."""
    return Transitions(
        np.concatenate([part.history_items for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.amounts for part in parts]),
    )


def transition_weights(
    sums: sp.csr_matrix,
    totals: TransitionTotals,
    kept: int,
    history_exponent: float,
    target_exponent: float,
) -> ItemWeights:
    """B of the history items in `sums`, of each the `kept` largest weights, ties by lower index.

    They are the largest of a history item and not of a target, because the last items of a history
    lead its list, and each of them needs the best that follows it. This also bounds what it costs
    to score a user.

    Args:
        sums: int64 [M, M] sparse; T in fixed point, with rows for any of the history items.
        totals: of all users.
        kept: how many weights of a history item are kept.
        history_exponent: a.
        target_exponent: b.
    """
    of_history = power(totals.outgoing / FIXED_POINT, -history_exponent)
    of_target = power(totals.incoming / FIXED_POINT, -target_exponent)
    amounts = sums.data / FIXED_POINT
    scales = np.repeat(of_history, np.diff(sums.indptr)) * of_target[sums.indices]
    weights: Float32 = (amounts * scales).astype(np.float32)
    positions, counts = largest_in_rows(sums.indptr, weights, kept)
    return ItemWeights(
        indptr_of(counts), sums.indices[positions].astype(np.int32), weights[positions]
    )


@numba.njit(cache=True)
def _transitions(indptr, items, ranks, taking_part, window):  # type: ignore[no-untyped-def]
    counted = 0
    history_items, targets = np.empty(0, np.int32), np.empty(0, np.int32)
    amounts = np.empty(0, np.int64)
    # The first pass counts the transitions, the second writes them down.
    for writes in (False, True):
        if writes:
            history_items, targets = np.empty(counted, np.int32), np.empty(counted, np.int32)
            amounts = np.empty(counted, np.int64)
        place = 0
        for row in range(len(indptr) - 1):
            own = indptr[row] + np.flatnonzero(taking_part[indptr[row] : indptr[row + 1]])
            by_time = own[np.argsort(-ranks[own])]
            next_time = 0
            for earlier in range(len(by_time)):
                rank = ranks[by_time[earlier]]
                while next_time < len(by_time) and ranks[by_time[next_time]] == rank:
                    next_time += 1
                for later in range(next_time, len(by_time)):
                    steps = rank - ranks[by_time[later]]
                    if steps > window:
                        break
                    if writes:
                        history_items[place] = items[by_time[earlier]]
                        targets[place] = items[by_time[later]]
                        amounts[place] = np.int64(FIXED_POINT / steps + 0.5)
                    place += 1
        counted = place
    return history_items, targets, amounts
