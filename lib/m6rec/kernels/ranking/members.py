"""Define the members of the hybrid, whose scores are dot products or sums of sparse rows.

A user's representation is a function of the user's row, the user's attributes and item-side arrays.
So a member holds only item-side arrays, and it serves training rows, new users and streams alike.
Members store no scores: `kernels.ranking.scoring` computes them where the best are selected.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, assert_never, runtime_checkable

import numpy as np

from m6rec.kernels.arrays.contexts import Context
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.arrays.recency import recent_weights
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows, entries_of_rows
from m6rec.kernels.factors.projection import FactorModel, project
from m6rec.kernels.neighbours.content import ContentEncoder, unit_rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.neighbours.user_neighbours import UserNeighbourSearch

Transform = Literal["identity", "square_root"]


def takes_square_root(transform: Transform) -> bool:
    """Whether a sum is scored by its square root, or as it is."""
    match transform:
        case "square_root":
            return True
        case "identity":
            return False
        case _:
            assert_never(transform)


@dataclass(frozen=True)
class UserBlock:
    """A block of users with all that members may know of them.

    Attributes:
        rows: the users' rows of the user-item matrix.
        features: float32 [n, f]; f may be 0.
        content: float32 [n, c]; the users' own attributes as content; c may be 0.
        given: float32 [n, k] by member name; user vectors that were read from a table.
        recency: float32 [entries of rows]; how many of the user's interactions came later, by
            `recency_ranks`.
        times: int64 [entries of rows] in microseconds; `UNKNOWN_TIME` where there is none.
    """

    rows: Rows
    features: Float32
    content: Float32
    given: dict[str, Float32]
    recency: Float32
    times: Int64

    def slice(self, start: int, stop: int) -> "UserBlock":
        """The users from start up to stop."""
        entries = slice(self.rows.indptr[start], self.rows.indptr[stop])
        return UserBlock(
            self.rows.slice(start, stop),
            self.features[start:stop],
            self.content[start:stop],
            {name: vectors[start:stop] for name, vectors in self.given.items()},
            self.recency[entries],
            self.times[entries],
        )


class UserEncoder(Protocol):
    """A function from a block of users to their vectors."""

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, k]: the users' vectors."""


@runtime_checkable
class ContextEncoder(UserEncoder, Protocol):
    """A function to users' vectors that can also place users in a context, at little cost."""

    def in_context(self, vectors: Float32, context: Context) -> Float32:
        """float32 [n, k]: the users of vectors that `encode` gave, in a context."""


@dataclass(frozen=True)
class FactorEncoder:
    """Computes user factors by projection of the row."""

    model: FactorModel

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, rank]."""
        return project(self.model, block.rows)


@dataclass(frozen=True)
class DirectionEncoder:
    """Computes user factors by projection of the row, and scales them to length 1."""

    model: FactorModel

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, rank]; a row without entries stays zero."""
        return unit_rows(project(self.model, block.rows))


@dataclass(frozen=True)
class GivenEncoder:
    """Returns the user vectors that were read from a table.

    Attributes:
        member: whose vectors they are.
        width: how many numbers each has.
    """

    member: str
    width: int

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, width] as they were read; zeros for users whom the table does not have."""
        given = block.given[self.member]
        # Of a block of such users alone, the width is not known where they are read.
        return given if given.shape[1] else np.zeros((len(given), self.width), np.float32)


@dataclass(frozen=True)
class SameForAll:
    """Gives every user the same vector of one number, and so the same scores."""

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, 1] of ones."""
        return np.ones((len(block.rows), 1), np.float32)


@dataclass(frozen=True)
class DotMember:
    """A member whose scores are dot products of user and item vectors: s_uj = u . v_j.

    Attributes:
        name: the member's name in configuration and tables.
        encoder: makes the users' vectors.
        item_vectors: float32 [items, k].
    """

    name: str
    encoder: UserEncoder
    item_vectors: Float32


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix whose rows are added up to scores.

    Attributes:
        indptr: int64 [rows + 1].
        item_indices: int32 [entries]; ascending within a row.
        values: float32 [entries].
    """

    indptr: Int64
    item_indices: Int32
    values: Float32


@dataclass(frozen=True)
class Terms:
    """Which sparse rows each user's scores add up, and with which factors.

    Attributes:
        indptr: int64 [n + 1]; user u has the terms indptr[u] up to indptr[u + 1].
        row_indices: int32 [terms] into the member's rows.
        factors: float32 [terms]; multiplies the row.
    """

    indptr: Int64
    row_indices: Int32
    factors: Float32

    def take(self, users: Int64) -> "Terms":
        """The terms of the users at these places, int64 [m], in that order."""
        indptr, places = entries_of_rows(self.indptr, users)
        return Terms(indptr, self.row_indices[places], self.factors[places])


class SparseMember(Protocol):
    """A member whose scores are sums of sparse rows: s_uj = t(sum over terms of factor * row_j)."""

    @property
    def name(self) -> str:
        """The member's name in configuration and tables."""

    @property
    def transform(self) -> Transform:
        """The function t of each sum; `square_root` takes negative sums as 0."""

    @property
    def rows(self) -> SparseRows:
        """The rows that are added up."""

    def terms(self, block: UserBlock) -> Terms:
        """The rows and factors that each user adds up."""


Member = DotMember | SparseMember


@dataclass(frozen=True)
class HistoryMember:
    """A member that sums item-item weights over the user's history.

    Attributes:
        name: the member's name.
        weights: row i holds how much history item i speaks for other items.
        transform: the function of each sum.
        recency_scale: a history item with this many later interactions counts 1/e; None counts
            all alike.
    """

    name: str
    weights: ItemWeights
    transform: Transform = "identity"
    recency_scale: float | None = None

    @property
    def rows(self) -> SparseRows:
        """The item-item weights."""
        return sparse_rows(self.weights)

    def terms(self, block: UserBlock) -> Terms:
        """The terms of sum over i in history of w_ui exp(-r_ui / scale) B_ij."""
        factors = block.rows.weights
        if self.recency_scale is not None:
            factors = factors * recent_weights(block.recency, self.recency_scale)
        return Terms(block.rows.indptr, block.rows.item_indices, factors)


@dataclass(frozen=True)
class UserNeighboursMember:
    """A member that sums the rows of the user's neighbours, weighted by their similarity."""

    search: UserNeighbourSearch
    name: str = "user_neighbours"
    transform: ClassVar[Transform] = "identity"

    @property
    def rows(self) -> SparseRows:
        """The candidates' rows."""
        rows = self.search.candidates.rows
        return SparseRows(rows.indptr, rows.item_indices, rows.weights)

    def terms(self, block: UserBlock) -> Terms:
        """The terms of sum over neighbours v of sim(u, v) r_vj."""
        found = self.search.find(block.rows)
        return Terms(found.indptr, found.candidate_indices, found.weights)


@dataclass(frozen=True)
class MemberWithin:
    """A sparse member that scores some of the items alone, numbered from 0.

    Attributes:
        member: scores all items.
        rows: its rows, cut to these items.
    """

    member: SparseMember
    rows: SparseRows

    @property
    def name(self) -> str:
        """The member's name in configuration and tables."""
        return self.member.name

    @property
    def transform(self) -> Transform:
        """The function of each sum."""
        return self.member.transform

    def terms(self, block: UserBlock) -> Terms:
        """The rows and factors that each user adds up, of items of any domain."""
        return self.member.terms(block)


@dataclass(frozen=True)
class OwnMembers:
    """A member for each domain, which knows what users have in that domain alone.

    Attributes:
        name: their name in configuration and tables.
        by_domain: the members by domain, of the domain's items by their numbers within it.
    """

    name: str
    by_domain: Mapping[str, Member]


@dataclass(frozen=True)
class OwnRowsEncoder:
    """Computes user factors from the part of the row that is of one domain."""

    model: FactorModel
    domain: Domain

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, rank]; whoever has nothing in the domain gets zeros."""
        rows = block.rows
        indptr, items = self.domain.own(rows.indptr, rows.item_indices)
        weights = rows.weights[self.domain.holds(rows.item_indices)]
        return project(self.model, Rows(rows.user_index, indptr, items, weights))


def is_same_for_all(member: Member | OwnMembers) -> bool:
    """Whether a member scores an item alike for every user, as popularity does."""
    return isinstance(member, DotMember) and isinstance(member.encoder, SameForAll)


def within(member: Member | OwnMembers, domain: Domain) -> Member:
    """The member for the items of a domain alone, by their numbers within it.

    Except by `OwnMembers`, a user is represented by the whole history, in all domains.
    """
    if isinstance(member, OwnMembers):
        return member.by_domain[domain.name]
    if isinstance(member, DotMember):
        return replace(member, item_vectors=member.item_vectors[domain.items])
    rows = member.rows
    indptr, items = domain.own(rows.indptr, rows.item_indices)
    return MemberWithin(
        member, SparseRows(indptr, items, rows.values[domain.holds(rows.item_indices)])
    )


def sparse_rows(weights: ItemWeights) -> SparseRows:
    """Item-item weights as sparse rows to add up."""
    return SparseRows(weights.indptr, weights.neighbour_indices, weights.weights)


def popularity_member(interaction_counts: Int64) -> DotMember:
    """A member that scores items by how many users have them, int64 [items], the same for all.

    Each user counts once: weights, times and the half-life play no part.
    """
    scores = np.log1p(interaction_counts).astype(np.float32)
    return DotMember("popularity", SameForAll(), np.ascontiguousarray(scores[:, None]))


def repeats_member(n_items: int, recency_scale: float | None) -> HistoryMember:
    """A member that scores the user's own items by weight and recency, and all others 0.

    s_uj = sqrt(w_uj exp(-r_uj / scale)): each history item speaks for itself alone.
    """
    items = np.arange(n_items + 1)
    itself = ItemWeights(
        items.astype(np.int64), items[:-1].astype(np.int32), np.ones(n_items, np.float32)
    )
    return HistoryMember("repeats", itself, "square_root", recency_scale)


@dataclass(frozen=True)
class ContentUserEncoder:
    """Computes users' profiles from the content of their items and their own attributes."""

    content: ContentEncoder

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, content]."""
        return self.content.encode(block.rows, block.content if block.content.shape[1] else None)
