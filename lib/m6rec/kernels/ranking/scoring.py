"""Scores of blends where they are needed: at the top of a list, or at chosen items.

Dot members of a blend are put side by side, each scaled by its coefficient, so that any number of
them is one matrix product; sparse members add to each block of scores while it is in cache.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.blending import Blend, evidence_bins
from m6rec.kernels.ranking.members import (
    DotMember,
    HistoryMember,
    Member,
    SparseRows,
    Terms,
    Transform,
    UserBlock,
    sparse_rows,
    takes_square_root,
)
from m6rec.kernels.ranking.top_n import (
    AddScores,
    AddToItems,
    OrderedItems,
    by_index,
    by_length,
    top_n_products,
)


@dataclass(frozen=True)
class RepresentedUsers:
    """A block of users as the members see them, by member name.

    Attributes:
        vectors: float32 [n, k], of dot members.
        terms: of sparse members.
        counts: int64 [n]; interactions of each user, which choose the bin of evidence.
    """

    vectors: dict[str, Float32]
    terms: dict[str, Terms]
    counts: Int64


@dataclass(frozen=True)
class SparsePart:
    """A sparse member in a blend.

    Attributes:
        coefficients: float32 [items]; the factor of the member's score of each item.
    """

    member: str
    rows: SparseRows
    square_root: bool
    coefficients: Float32


@dataclass(frozen=True)
class Ranker:
    """A blend made ready to score.

    Attributes:
        blend: the weights.
        dot_members: the members whose vectors lie side by side.
        items: with vectors [items, k], scaled by the members' coefficients.
        sparse: the sparse members.
    """

    blend: Blend
    dot_members: tuple[str, ...]
    items: OrderedItems
    sparse: tuple[SparsePart, ...]


@dataclass(frozen=True)
class Hidden:
    """Items that a list may not hold.

    Attributes:
        offsets: int64 [n + 1] into items.
        items: int32; of each user, ascending.
        forbidden: bool [items]; for all users.
    """

    offsets: Int64
    items: Int32
    forbidden: npt.NDArray[np.bool_]


def make_ranker(blend: Blend, members: Mapping[str, Member], item_counts: Int64) -> Ranker:
    """Scale and join the item side of the blend's members.

    Args:
        members: the blend's members at least, by name.
        item_counts: int64 [items]; interactions of each item in the fit, which choose its bin.
    """
    bins = evidence_bins(item_counts)
    parts: list[Float32] = []
    dot_members: list[str] = []
    sparse: list[SparsePart] = []
    for name, coefficient in blend.coefficients().items():
        member = members[name]
        coefficients = (coefficient * blend.item_factors_of(name)[bins]).astype(np.float32)
        if isinstance(member, DotMember):
            dot_members.append(name)
            one = bool((coefficients == 1.0).all())
            vectors = member.item_vectors
            parts.append(vectors if one else vectors * coefficients[:, None])
        else:
            square_root = takes_square_root(member.transform)
            sparse.append(SparsePart(name, member.rows, square_root, coefficients))
    if len(parts) == 1:
        joined = parts[0]
    else:
        joined = np.hstack([np.zeros((len(item_counts), 0), np.float32), *parts])
    items = by_index(joined) if sparse else by_length(joined)
    return Ranker(blend, tuple(dot_members), items, tuple(sparse))


def represent(members: Mapping[str, Member], block: UserBlock) -> RepresentedUsers:
    """The users as each of the members sees them."""
    vectors: dict[str, Float32] = {}
    terms: dict[str, Terms] = {}
    for name, member in members.items():
        if isinstance(member, DotMember):
            vectors[name] = member.encoder.encode(block)
        else:
            terms[name] = member.terms(block)
    return RepresentedUsers(vectors, terms, block.rows.counts)


@dataclass(frozen=True)
class ExpandedHistoryMember:
    """Sums of item-item weights over the history and over what another member adds to it.

    An item that nobody has yet is like items of which the user has none, but would like some:
    those count too, with `expansion` times the other member's score.

    Attributes:
        weights: row i holds what item i says for other items.
        added_by: scores the items that are added.
        expansion: factor of those scores; 0 adds nothing.
        expanded: how many items are added at most.
    """

    name: str
    weights: ItemWeights
    added_by: HistoryMember
    expansion: float
    expanded: int
    transform: Transform = "square_root"

    @property
    def rows(self) -> SparseRows:
        """The item-item weights."""
        return sparse_rows(self.weights)

    def terms(self, block: UserBlock) -> Terms:
        """The history with its weights, then the added items with theirs."""
        history = self.added_by.terms(block)
        n_items = len(self.weights)
        blend = Blend(self.added_by.name, (self.added_by.name,), (1.0,), (1.0,))
        ranker = make_ranker(blend, {blend.name: self.added_by}, np.zeros(n_items, np.int64))
        users = RepresentedUsers({}, {blend.name: history}, block.rows.counts)
        nothing = hidden_items([], len(block.rows), np.zeros(n_items, np.bool_))
        items, scores = ranker_top_n(ranker, users, nothing, self.expanded)
        user = np.repeat(np.arange(len(block.rows)), self.expanded)
        added = (items.ravel() >= 0) & (scores.ravel() > 0.0)
        users_of_history = np.repeat(np.arange(len(block.rows)), np.diff(history.offsets))
        owners = np.concatenate([users_of_history, user[added]])
        order = np.argsort(owners, kind="stable")
        factors = np.concatenate(
            [history.factors, np.float32(self.expansion) * scores.ravel()[added]]
        )
        counts = np.bincount(owners, minlength=len(block.rows))
        return Terms(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate([history.row_indices, items.ravel()[added]])[order],
            factors[order],
        )


def ranker_top_n(
    ranker: Ranker, users: RepresentedUsers, hidden: Hidden, n_best: int
) -> tuple[Int32, Float32]:
    """The best items of a block of users, as `top_n_products` gives them."""
    factors = _user_factors(ranker.blend, users.counts)
    scaled = [users.vectors[name] * factors[name][:, None] for name in ranker.dot_members]
    return top_n_products(
        np.hstack([np.zeros((len(users.counts), 0), np.float32), *scaled]),
        ranker.items,
        n_best,
        hidden.offsets,
        hidden.items,
        hidden.forbidden,
        _sparse_adder(ranker, users, factors) if ranker.sparse else None,
    )


def part_scores(
    ranker: Ranker, users: RepresentedUsers, offsets: Int64, items: Int32
) -> dict[str, Float32]:
    """What each member adds to the scores of chosen items: float32 [entries] by member.

    Args:
        offsets: int64 [n + 1] into items.
        items: int32 [entries].
    """
    factors = _user_factors(ranker.blend, users.counts)
    user = np.repeat(np.arange(len(users.counts)), np.diff(offsets))
    places = ranker.items.places[items]
    parts: dict[str, Float32] = {}
    start = 0
    for name in ranker.dot_members:
        vectors = users.vectors[name]
        stop = start + vectors.shape[1]
        scores = dots_at(vectors, ranker.items.vectors[:, start:stop], offsets, places)
        parts[name] = scores * factors[name][user]
        start = stop
    for part in ranker.sparse:
        terms = users.terms[part.member]
        n_items = len(part.coefficients)
        sums, _ = sums_at(terms, part.rows, part.square_root, offsets, items, n_items)
        parts[part.member] = sums * part.coefficients[items] * factors[part.member][user]
    return parts


def scores_and_moments(
    member: Member, users: RepresentedUsers, offsets: Int64, items: Int32, n_items: int
) -> tuple[Float32, Float64]:
    """A member's scores of chosen items, and the moments of its scores of all items.

    Args:
        offsets: int64 [n + 1] into items.
        items: int32 [entries].

    Returns:
        float32 [entries] transformed scores, and float64 [n, 2]: mean and mean square over items.
    """
    if not isinstance(member, DotMember):
        square_root = takes_square_root(member.transform)
        terms = users.terms[member.name]
        return sums_at(terms, member.rows, square_root, offsets, items, n_items)
    vectors, item_vectors = users.vectors[member.name], member.item_vectors
    mean = vectors.astype(np.float64) @ item_vectors.mean(axis=0, dtype=np.float64)
    # The mean of (u . v)^2 over items is u^T (V^T V / M) u.
    gram = (item_vectors.T @ item_vectors).astype(np.float64) / n_items
    square = np.einsum("nk,nk->n", vectors @ gram, vectors)
    return dots_at(vectors, item_vectors, offsets, items), np.stack([mean, square], axis=1)


def dots_at(users: Float32, item_vectors: Float32, offsets: Int64, items: Int32) -> Float32:
    """float32 [entries]: the dot product of each user with each of the user's chosen items."""
    scores = np.empty(len(items), np.float32)
    _dots_at(np.ascontiguousarray(users), item_vectors, offsets, items, scores)
    return scores


def sums_at(
    terms: Terms,
    rows: SparseRows,
    square_root: bool,
    offsets: Int64,
    items: Int32,
    n_items: int,
) -> tuple[Float32, Float64]:
    """Sums of sparse rows at chosen items, and their mean and mean square over all items.

    Returns:
        float32 [entries] and float64 [n, 2], both after the transform.
    """
    scores = np.empty(len(items), np.float32)
    moments = np.zeros((len(offsets) - 1, 2))
    _sums_at(
        terms.offsets,
        terms.row_indices,
        terms.factors,
        rows.offsets,
        rows.item_indices,
        rows.values,
        square_root,
        offsets,
        items,
        n_items,
        scores,
        moments,
    )
    return scores, moments


def hidden_items(
    lists: Sequence[tuple[Int64, Int32]], n_users: int, forbidden: npt.NDArray[np.bool_]
) -> Hidden:
    """All lists of a user's items as one, ascending.

    Args:
        lists: offsets int64 [n + 1] and items int32, each.
    """
    n_items = len(forbidden)
    users = [np.repeat(np.arange(n_users), np.diff(offsets)) for offsets, _ in lists]
    cells = np.concatenate(
        [
            np.empty(0, np.int64),
            *(user * n_items + items for user, (_, items) in zip(users, lists, strict=True)),
        ]
    )
    # Lists come in order: of one alone nothing has to be moved, and of several runs are merged.
    cells.sort(kind="stable")
    user, item = np.divmod(cells, n_items)
    counts = np.bincount(user, minlength=n_users)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Hidden(offsets, item.astype(np.int32), forbidden)


def _user_factors(blend: Blend, user_counts: Int64) -> dict[str, Float32]:
    bins = evidence_bins(user_counts)
    return {
        name: blend.user_factors_of(name)[bins].astype(np.float32) for name in blend.coefficients()
    }


def _sparse_adder(
    ranker: Ranker, represented: RepresentedUsers, factors: Mapping[str, Float32]
) -> AddScores:
    def added(users: slice) -> AddToItems:
        started = [_start(part, represented.terms[part.member], users) for part in ranker.sparse]

        def add_to_items(items: slice, scores: Float32) -> None:
            for part, (offsets, row_indices, row_factors, positions) in zip(
                ranker.sparse, started, strict=True
            ):
                _add_sums(
                    items.start,
                    offsets,
                    row_indices,
                    row_factors,
                    positions,
                    part.rows.offsets,
                    part.rows.item_indices,
                    part.rows.values,
                    part.square_root,
                    part.coefficients,
                    factors[part.member][users],
                    scores,
                )

        return add_to_items

    return added


def _start(part: SparsePart, terms: Terms, users: slice) -> tuple[Int64, Int32, Float32, Int64]:
    """A block's terms, and for each the place in its sparse row from which items come next."""
    low, high = terms.offsets[users.start], terms.offsets[users.stop]
    row_indices = terms.row_indices[low:high]
    offsets = terms.offsets[users.start : users.stop + 1] - low
    return offsets, row_indices, terms.factors[low:high], part.rows.offsets[row_indices]


@numba.njit(cache=True, nogil=True)
def _add_sums(  # type: ignore[no-untyped-def]
    first,
    offsets,
    row_indices,
    factors,
    positions,
    row_offsets,
    item_indices,
    values,
    square_root,
    coefficients,
    user_factors,
    scores,
):
    width = scores.shape[1]
    stop = first + width
    sums = np.zeros(width, np.float32)
    for user in range(scores.shape[0]):
        touched = False
        for term in range(offsets[user], offsets[user + 1]):
            position = positions[term]
            end = row_offsets[row_indices[term] + 1]
            factor = factors[term]
            while position < end and item_indices[position] < stop:
                sums[item_indices[position] - first] += factor * values[position]
                position += 1
                touched = True
            positions[term] = position
        if not touched:
            continue
        own = scores[user]
        for column in range(width):
            total = sums[column]
            if square_root:
                total = np.sqrt(max(total, np.float32(0.0)))
            own[column] += user_factors[user] * coefficients[first + column] * total
            sums[column] = 0.0


@numba.njit(cache=True, nogil=True, fastmath=True)
def _dots_at(users, item_vectors, offsets, items, scores):  # type: ignore[no-untyped-def]
    for user in range(len(offsets) - 1):
        vector = users[user]
        for entry in range(offsets[user], offsets[user + 1]):
            item_vector = item_vectors[items[entry]]
            total = np.float32(0.0)
            for column in range(len(vector)):
                total += vector[column] * item_vector[column]
            scores[entry] = total


@numba.njit(cache=True, nogil=True)
def _sums_at(  # type: ignore[no-untyped-def]
    offsets,
    row_indices,
    factors,
    row_offsets,
    item_indices,
    values,
    square_root,
    list_offsets,
    list_items,
    n_items,
    scores,
    moments,
):
    sums = np.zeros(n_items, np.float32)
    for user in range(len(offsets) - 1):
        for term in range(offsets[user], offsets[user + 1]):
            row = row_indices[term]
            for position in range(row_offsets[row], row_offsets[row + 1]):
                sums[item_indices[position]] += factors[term] * values[position]
        total = 0.0
        square = 0.0
        for item in range(n_items):
            value = sums[item]
            if value != 0.0:
                if square_root:
                    value = np.sqrt(max(value, np.float32(0.0)))
                    sums[item] = value
                total += value
                square += np.float64(value) * value
        moments[user, 0] = total / n_items
        moments[user, 1] = square / n_items
        for entry in range(list_offsets[user], list_offsets[user + 1]):
            scores[entry] = sums[list_items[entry]]
        sums[:] = 0.0
