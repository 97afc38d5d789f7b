"""Compute item-item weights from what came next in users' histories, in the order of time.

Of two items of a user, i and then j by d <= window steps, the pair (i, j) gets 1 / d:

    T_ij = sum over users of 1 / d_u(i, j),    B_ij = T_ij / (out_i^a in_j^b)

with out_i = sum_j T_ij and in_j = sum_i T_ij. So B is directed: it says what follows i, and not
what precedes it. Transitions with skips are those of Shani, Heckerman and Brafman (2005, "An
MDP-based recommender system").

Each new time of a user is a step. Of items at the same time either may have been first, so they
count as one step from each other, both ways. (On MovieLens-100K, where half of the pairs share a
time, and on musical instruments of Amazon, whose times are days, this ranked better than to leave
them out.) Of more than `AT_ONE_TIME` items a sample takes part, so that the cost is linear however
many share a time.

Sums are fixed-point integers, which are exact in any order. So neither the partitioning nor the
order of rows can change a weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import scipy.sparse as sp

from m6rec.kernels.arrays.hashing import hash_of_pair
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.recency import later_counts, recency_ranks
from m6rec.kernels.arrays.rows import UNKNOWN_TIME, Float32, Int32, Int64, Rows, indptr_of
from m6rec.kernels.arrays.selection import largest_in_rows
from m6rec.kernels.neighbours.item_neighbours import FIXED_POINT, ItemWeights, power

# The most items of one time that take part; of more, those with the smallest hash of user and item.
AT_ONE_TIME = 20


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
        window: the most steps from the one item of a transition to the other.
        kept: how many weights of a history item are kept, the largest first.
        history_exponent: a.
        target_exponent: b.
        maximum_history: of a longer history, the latest interactions are looked at.
    """
    found = transitions_of(rows, times, window, maximum_history)
    totals = found.totals(n_items)
    return transition_weights(found.sums(n_items), totals, kept, history_exponent, target_exponent)


def transitions_of(rows: Rows, times: Int64, window: int, maximum_history: int) -> Transitions:
    """The transitions of some users; arguments as those of `transitions`.

    An interaction has no more than `most_transitions(window)` of them to others.
    """
    ranks = recency_ranks(rows.indptr, times)
    # What has no time counts as the oldest, so that leaving it out changes no other rank.
    later = later_counts(rows.indptr, times)
    taking_part = (times != UNKNOWN_TIME) & (later < maximum_history)
    read = read_only(rows.user_index, rows.indptr, rows.item_indices, ranks, taking_part)
    return Transitions(*_transitions(*read, window))


def most_transitions(window: int) -> int:
    """The most transitions from one interaction."""
    return AT_ONE_TIME * (window + 1)


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
def _transitions(user_index, indptr, items, ranks, taking_part, window):  # type: ignore[no-untyped-def]
    counted = 0
    history_items, targets = np.empty(0, np.int32), np.empty(0, np.int32)
    amounts = np.empty(0, np.int64)
    # The first pass counts the transitions, the second writes them down.
    for writes in (False, True):
        if writes:
            history_items, targets = np.empty(counted, np.int32), np.empty(counted, np.int32)
            amounts = np.empty(counted, np.int64)
        place = 0
        for row in range(len(user_index)):
            own = indptr[row] + np.flatnonzero(taking_part[indptr[row] : indptr[row + 1]])
            sequence, starts = _by_time(user_index[row], items[own], ranks[own])
            for time in range(len(starts) - 1):
                for other in range(time, min(time + window + 1, len(starts) - 1)):
                    steps = max(other - time, 1)
                    for earlier in range(starts[time], starts[time + 1]):
                        for later in range(starts[other], starts[other + 1]):
                            if earlier != later:
                                if writes:
                                    history_items[place] = sequence[earlier]
                                    targets[place] = sequence[later]
                                    amounts[place] = np.int64(FIXED_POINT / steps + 0.5)
                                place += 1
        counted = place
    return history_items, targets, amounts


@numba.njit(cache=True)
def _by_time(user, items, ranks):  # type: ignore[no-untyped-def]
    """A user's items, the oldest first, and int64 [times + 1]: where each time starts."""
    order = np.argsort(-ranks)
    sequence = np.empty(len(items), np.int32)
    starts = np.zeros(len(items) + 1, np.int64)
    times, filled, start = 0, 0, 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and ranks[order[stop]] == ranks[order[start]]:
            stop += 1
        together = items[order[start:stop]]
        if len(together) > AT_ONE_TIME:
            hashes = np.empty(len(together), np.uint64)
            for place in range(len(together)):
                hashes[place] = hash_of_pair(user, together[place])
            together = together[np.argsort(hashes)[:AT_ONE_TIME]]
        sequence[filled : filled + len(together)] = together
        filled += len(together)
        times += 1
        starts[times] = filled
        start = stop
    return sequence[:filled], starts[: times + 1]
