"""The members of the hybrid, of two kinds: dot products, and sums of sparse rows.

A user's representation is a function of the user's row (and attributes) and of item-side arrays,
so a member holds item-side arrays only and serves training rows, new users and streams alike. A
score is never stored by a member: `kernels.scoring` makes it where it is selected.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import numpy as np

from m6rec.kernels.arrays.recency import recent_weights
from m6rec.kernels.arrays.rows import Float32, Int32, Int64, Rows
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
    """A block of users: what members may know of them.

    Attributes:
        rows: their rows of the user-item matrix.
        features: float32 [n, f]; f may be 0.
        content: float32 [n, c]; the users' own attributes as content; c may be 0.
        given: float32 [n, k] user vectors that come from a table, by member name.
        recency: float32 [entries of rows]: how many of the user's interactions came later.
    """

    rows: Rows
    features: Float32
    content: Float32
    given: dict[str, Float32]
    recency: Float32


class UserEncoder(Protocol):
    """A function from a block of users to their vectors."""

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, k]: the users' vectors."""


@dataclass(frozen=True)
class FactorEncoder:
    """User factors by projection of the row."""

    model: FactorModel

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, rank]."""
        return project(self.model, block.rows)


@dataclass(frozen=True)
class DirectionEncoder:
    """User factors by projection of the row, at length 1."""

    model: FactorModel

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, rank]; a row without entries stays zero."""
        return unit_rows(project(self.model, block.rows))


@dataclass(frozen=True)
class GivenEncoder:
    """User vectors that a table holds."""

    member: str

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, k] as they were read."""
        return block.given[self.member]


@dataclass(frozen=True)
class SameForAll:
    """One number, so that every user gets the same scores."""

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, 1] of ones."""
        return np.ones((len(block.rows), 1), np.float32)


@dataclass(frozen=True)
class DotMember:
    """Scores are dot products of user and item vectors: s_uj = u . v_j.

    Attributes:
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
        item_indices: int32 [entries], ascending within a row.
        values: float32 [entries].
    """

    indptr: Int64
    item_indices: Int32
    values: Float32


@dataclass(frozen=True)
class Terms:
    """Which sparse rows make up each user's scores, and with which factors.

    Attributes:
        indptr: int64 [n + 1].
        row_indices: int32 [terms] into the member's rows.
        factors: float32 [terms].
    """

    indptr: Int64
    row_indices: Int32
    factors: Float32


class SparseMember(Protocol):
    """Scores are sums of sparse rows: s_uj = t(sum over terms of factor * row_j)."""

    @property
    def name(self) -> str:
        """The member's name in configuration and tables."""

    @property
    def transform(self) -> Transform:
        """What is done to each sum; `square_root` takes negative sums as 0."""

    @property
    def rows(self) -> SparseRows:
        """The rows that are added up."""

    def terms(self, block: UserBlock) -> Terms:
        """What each user adds up."""


Member = DotMember | SparseMember


@dataclass(frozen=True)
class HistoryMember:
    """Sums of item-item weights over the user's history.

    Attributes:
        weights: row i holds what history item i says for other items.
        recency_scale: after so many later interactions a history item counts 1/e; None: all
            count alike.
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
        """sum over i in history of w_ui exp(-r_ui / scale) B_ij."""
        factors = block.rows.weights
        if self.recency_scale is not None:
            factors = factors * recent_weights(block.recency, self.recency_scale)
        return Terms(block.rows.indptr, block.rows.item_indices, factors)


@dataclass(frozen=True)
class UserNeighboursMember:
    """Sums of the neighbours' rows, weighted by their similarity."""

    search: UserNeighbourSearch
    name: str = "user_neighbours"
    transform: Transform = "identity"

    @property
    def rows(self) -> SparseRows:
        """The candidates' rows."""
        rows = self.search.candidates.rows
        return SparseRows(rows.indptr, rows.item_indices, rows.weights)

    def terms(self, block: UserBlock) -> Terms:
        """sum over neighbours v of sim(u, v) r_vj."""
        found = self.search.find(block.rows)
        return Terms(found.indptr, found.candidate_indices, found.weights)


def sparse_rows(weights: ItemWeights) -> SparseRows:
    """Item-item weights as rows to add up."""
    return SparseRows(weights.indptr, weights.neighbour_indices, weights.weights)


def popularity_member(interaction_counts: Int64) -> DotMember:
    """Every user gets the items with the most interactions; counts are int64 [items]."""
    scores = np.log1p(interaction_counts).astype(np.float32)
    return DotMember("popularity", SameForAll(), np.ascontiguousarray(scores[:, None]))


@dataclass(frozen=True)
class ContentUserEncoder:
    """Users' profiles of the content of their items."""

    content: ContentEncoder

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, content]."""
        return self.content.encode(block.rows, block.content if block.content.shape[1] else None)
