"""Score blends of members: the best items of each user, or chosen items.

The vectors of a blend's dot members stand side by side, each scaled by its coefficient, so that
any number of them costs one matrix product. The sparse members add to each block of scores while
it is in cache.

Words for what lists leave out:
    seen: a user's own items of the fit.
    excluded: what the owner's tables of rules, and the columns made from them, name.
    masked: what a list may not hold, for whatever reason: seen items, excluded items, and items
        outside the catalogue or outside the protocol of a measurement. Kernels know this word
        alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.contexts import Context
from m6rec.kernels.arrays.read_only import read_only
from m6rec.kernels.arrays.rows import (
    Float32,
    Float64,
    Int32,
    Int64,
    entries_of_rows,
    indptr_of,
)
from m6rec.kernels.factors.projection import exact_product
from m6rec.kernels.ranking.blending import Blend, evidence_bins
from m6rec.kernels.ranking.members import (
    ContextEncoder,
    DotMember,
    Member,
    SparseRows,
    Terms,
    UserBlock,
    takes_square_root,
)
from m6rec.kernels.ranking.sparse_sums import add_sums, dots_at, sums_at
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
    """A block of users as each member represents them, by member name.

    Attributes:
        vectors: float32 [n, k] for each dot member.
        terms: which rows each sparse member adds up.
        counts: int64 [n]; interactions of each user, which choose the bin of evidence.
    """

    vectors: dict[str, Float32]
    terms: dict[str, Terms]
    counts: Int64

    def take(self, users: Int64) -> "RepresentedUsers":
        """The users at these places, int64 [m], in that order."""
        vectors = {name: vectors[users] for name, vectors in self.vectors.items()}
        terms = {name: terms.take(users) for name, terms in self.terms.items()}
        return RepresentedUsers(vectors, terms, self.counts[users])


@dataclass(frozen=True)
class SparsePart:
    """A sparse member in a blend.

    Attributes:
        member: its name.
        rows: the rows that it adds up.
        square_root: whether each sum is replaced by its square root.
        coefficients: float32 [items]; multiplies the member's score of each item.
    """

    member: str
    rows: SparseRows
    square_root: bool
    coefficients: Float32


@dataclass(frozen=True)
class PreparedBlend:
    """A blend whose item side is scaled and joined, ready to score.

    Attributes:
        blend: the members and their weights.
        dot_members: names of the members whose vectors lie side by side, in that order.
        items: the joined item vectors, scaled by the members' coefficients.
        sparse: the sparse members.
    """

    blend: Blend
    dot_members: tuple[str, ...]
    items: OrderedItems
    sparse: tuple[SparsePart, ...]


@dataclass(frozen=True)
class Masked:
    """Items that the lists of a block of users may not hold.

    Attributes:
        indptr: int64 [n + 1] into item_indices.
        item_indices: int32; the items masked for each user, ascending.
        masked_items: bool [items]; the items masked for all users.
    """

    indptr: Int64
    item_indices: Int32
    masked_items: npt.NDArray[np.bool_]

    def take(self, users: Int64) -> "Masked":
        """What is masked for the users at these places, int64 [m], in that order."""
        indptr, places = entries_of_rows(self.indptr, users)
        return Masked(indptr, self.item_indices[places], self.masked_items)


def prepare_blend(
    blend: Blend, members: Mapping[str, Member], item_evidence: Int64
) -> PreparedBlend:
    """Scale and join the item side of the blend's members.

    Args:
        blend: the members' weights.
        members: at least the blend's members, by name.
        item_evidence: int64 [items]; interactions of each item in the fit, or `PICTURES_ALONE`,
            which choose the bin of evidence.
    """
    bins = evidence_bins(item_evidence)
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
        joined = np.hstack([np.zeros((len(item_evidence), 0), np.float32), *parts])
    items = by_index(joined) if sparse else by_length(joined)
    return PreparedBlend(blend, tuple(dot_members), items, tuple(sparse))


def represent(members: Mapping[str, Member], block: UserBlock) -> RepresentedUsers:
    """Represent a block of users as each member does."""
    vectors: dict[str, Float32] = {}
    terms: dict[str, Terms] = {}
    for name, member in members.items():
        if isinstance(member, DotMember):
            vectors[name] = member.encoder.encode(block)
        else:
            terms[name] = member.terms(block)
    return RepresentedUsers(vectors, terms, block.rows.counts)


def knows_contexts(member: Member) -> bool:
    """Whether a member can place users in a context."""
    return isinstance(member, DotMember) and isinstance(member.encoder, ContextEncoder)


def in_context(
    members: Mapping[str, Member], users: RepresentedUsers, context: Context
) -> RepresentedUsers:
    """The same users in a context, for the members that know contexts; nobody is encoded anew."""
    vectors = dict(users.vectors)
    for name, member in members.items():
        if isinstance(member, DotMember) and isinstance(member.encoder, ContextEncoder):
            vectors[name] = member.encoder.in_context(vectors[name], context)
    return replace(users, vectors=vectors)


def blend_top_n(
    prepared: PreparedBlend, users: RepresentedUsers, masked: Masked, n_best: int
) -> tuple[Int32, Float32]:
    """The best items of each user of a block and their scores, as `top_n_products` returns them."""
    factors = _user_factors(prepared.blend, users.counts)
    scaled = [users.vectors[name] * factors[name][:, None] for name in prepared.dot_members]
    return top_n_products(
        np.hstack([np.zeros((len(users.counts), 0), np.float32), *scaled]),
        prepared.items,
        n_best,
        masked.indptr,
        masked.item_indices,
        masked.masked_items,
        _sparse_adder(prepared, users, factors) if prepared.sparse else None,
    )


def part_scores(
    prepared: PreparedBlend, users: RepresentedUsers, indptr: Int64, items: Int32
) -> dict[str, Float32]:
    """What each member adds to the scores of chosen items: float32 [entries] by member name.

    Args:
        indptr: int64 [n + 1] into items.
        items: int32 [entries].
    """
    factors = _user_factors(prepared.blend, users.counts)
    user = np.repeat(np.arange(len(users.counts)), np.diff(indptr))
    places = prepared.items.places[items]
    parts: dict[str, Float32] = {}
    start = 0
    for name in prepared.dot_members:
        vectors = users.vectors[name]
        stop = start + vectors.shape[1]
        scores = dots_at(vectors, prepared.items.vectors[:, start:stop], indptr, places)
        parts[name] = scores * factors[name][user]
        start = stop
    for part in prepared.sparse:
        terms = users.terms[part.member]
        n_items = len(part.coefficients)
        sums, _ = sums_at(terms, part.rows, part.square_root, indptr, items, n_items)
        parts[part.member] = sums * part.coefficients[items] * factors[part.member][user]
    return parts


def scores_and_moments(
    member: Member, users: RepresentedUsers, indptr: Int64, items: Int32, n_items: int
) -> tuple[Float32, Float64]:
    """A member's scores of chosen items, and the moments of its scores over all items.

    Args:
        indptr: int64 [n + 1] into items.
        items: int32 [entries].

    Returns:
        The transformed scores, float32 [entries], and their mean and mean square over all items,
        float64 [n, 2].
    """
    if not isinstance(member, DotMember):
        square_root = takes_square_root(member.transform)
        terms = users.terms[member.name]
        return sums_at(terms, member.rows, square_root, indptr, items, n_items)
    vectors, item_vectors = users.vectors[member.name], member.item_vectors
    mean = vectors.astype(np.float64) @ item_vectors.mean(axis=0, dtype=np.float64)
    # The mean of (u . v)^2 over items is u^T (V^T V / M) u.
    gram = exact_product(item_vectors, item_vectors) / n_items
    square = np.einsum("nk,nk->n", vectors @ gram, vectors)
    return dots_at(vectors, item_vectors, indptr, items), np.stack([mean, square], axis=1)


def masked_for_users(
    lists: Sequence[tuple[Int64, Int32]], n_users: int, masked_items: npt.NDArray[np.bool_]
) -> Masked:
    """Join the lists of what is masked for each user, such as seen and excluded items.

    Args:
        lists: indptr int64 [n + 1] and item indices int32 of each list.
        n_users: n.
        masked_items: bool [items]; what is masked for all users.
    """
    n_items = len(masked_items)
    users = [np.repeat(np.arange(n_users), np.diff(indptr)) for indptr, _ in lists]
    cells = np.concatenate(
        [
            np.empty(0, np.int64),
            *(user * n_items + items for user, (_, items) in zip(users, lists, strict=True)),
        ]
    )
    # Each list is sorted already: a stable sort leaves a single list as it is and merges several.
    cells.sort(kind="stable")
    user, item = np.divmod(cells, n_items)
    counts = np.bincount(user, minlength=n_users)
    return Masked(indptr_of(counts), item.astype(np.int32), masked_items)


def _user_factors(blend: Blend, user_counts: Int64) -> dict[str, Float32]:
    bins = evidence_bins(user_counts)
    return {
        name: blend.user_factors_of(name)[bins].astype(np.float32) for name in blend.coefficients()
    }


def _sparse_adder(
    prepared: PreparedBlend, represented: RepresentedUsers, factors: Mapping[str, Float32]
) -> AddScores:
    def added(users: slice) -> AddToItems:
        started = [_start(part, represented.terms[part.member], users) for part in prepared.sparse]

        def add_to_items(items: slice, scores: Float32) -> None:
            for part, (indptr, row_indices, row_factors, positions) in zip(
                prepared.sparse, started, strict=True
            ):
                add_sums(
                    items.start,
                    *read_only(indptr, row_indices, row_factors),
                    positions,
                    *read_only(part.rows.indptr, part.rows.item_indices, part.rows.values),
                    part.square_root,
                    *read_only(part.coefficients, factors[part.member][users]),
                    scores,
                )

        return add_to_items

    return added


def _start(part: SparsePart, terms: Terms, users: slice) -> tuple[Int64, Int32, Float32, Int64]:
    """A block's terms, and for each term the position of the next entry in its sparse row."""
    low, high = terms.indptr[users.start], terms.indptr[users.stop]
    row_indices = terms.row_indices[low:high]
    indptr = terms.indptr[users.start : users.stop + 1] - low
    return indptr, row_indices, terms.factors[low:high], part.rows.indptr[row_indices]
