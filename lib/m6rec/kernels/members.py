"""The members of the hybrid: each scores all items for a block of users.

A user's representation is a function of the user's row (and attributes) and of item-side arrays,
so a member holds item-side arrays only and serves training rows, new users and streams alike.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numba
import numpy as np

from m6rec.kernels.item_neighbours import ItemWeights
from m6rec.kernels.projection import FactorModel, project
from m6rec.kernels.recency import recent_weights
from m6rec.kernels.rows import Float32, Int64, Rows

Transform = Literal["identity", "square_root"]


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


class Member(Protocol):
    """One way to score all items."""

    @property
    def name(self) -> str:
        """The member's name in configuration and tables."""

    @property
    def transform(self) -> Transform:
        """What is done to its scores before they are blended."""

    def scores(self, block: UserBlock) -> Float32:
        """float32 [n, items]: a fresh array of scores."""


@dataclass(frozen=True)
class FactorEncoder:
    """User factors by projection of the row."""

    model: FactorModel

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, rank]."""
        return project(self.model, block.rows)


@dataclass(frozen=True)
class GivenEncoder:
    """User vectors that a table holds."""

    member: str

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, k] as they were read."""
        return block.given[self.member]


@dataclass(frozen=True)
class DotMember:
    """Scores are dot products of user and item vectors.

    Attributes:
        item_vectors: float32 [items, k].
    """

    name: str
    encoder: UserEncoder
    item_vectors: Float32
    transform: Transform = "identity"

    def scores(self, block: UserBlock) -> Float32:
        """float32 [n, items]: U V^T."""
        return self.encoder.encode(block) @ self.item_vectors.T


@dataclass(frozen=True)
class HistoryMember:
    """Scores are sums of item-item weights over the user's history.

    Attributes:
        weights: row i holds what history item i says for other items.
        n_items: number of items.
        recency_scale: after so many later interactions a history item counts 1/e; None: all
            count alike.
    """

    name: str
    weights: ItemWeights
    n_items: int
    transform: Transform = "identity"
    recency_scale: float | None = None

    def scores(self, block: UserBlock) -> Float32:
        """float32 [n, items]: score_uj = sum over i in history of w_ui exp(-r_ui / scale) B_ij."""
        row_weights = block.rows.weights
        if self.recency_scale is not None:
            row_weights = row_weights * recent_weights(block.recency, self.recency_scale)
        scores = np.zeros((len(block.rows), self.n_items), dtype=np.float32)
        _add_history(
            block.rows.offsets,
            block.rows.item_indices,
            row_weights,
            self.weights.offsets,
            self.weights.neighbour_indices,
            self.weights.weights,
            scores,
        )
        return scores


class NeighbourSearch(Protocol):
    """Finds and weighs the candidate users nearest to each row of a block."""

    def scores(self, rows: Rows) -> Float32:
        """float32 [n, items]: sum over neighbours of similarity times the neighbour's row."""


@dataclass(frozen=True)
class UserNeighboursMember:
    """Scores are the neighbours' rows, weighted by their similarity."""

    search: NeighbourSearch
    name: str = "user_neighbours"
    transform: Transform = "identity"

    def scores(self, block: UserBlock) -> Float32:
        """float32 [n, items]."""
        return self.search.scores(block.rows)


@dataclass(frozen=True)
class PopularityMember:
    """Every user gets the items with the most interactions.

    Attributes:
        item_scores: float32 [items]: log(1 + interactions).
    """

    item_scores: Float32
    name: str = "popularity"
    transform: Transform = "identity"

    def scores(self, block: UserBlock) -> Float32:
        """float32 [n, items]: one row, repeated."""
        return np.tile(self.item_scores, (len(block.rows), 1))


def popularity_member(interaction_counts: Int64) -> PopularityMember:
    """The popularity of items in the training fold; counts are int64 [items]."""
    return PopularityMember(np.log1p(interaction_counts).astype(np.float32))


def transformed_scores(member: Member, block: UserBlock) -> Float32:
    """float32 [n, items]: the member's scores as they enter a blend."""
    scores = member.scores(block)
    if member.transform == "square_root":
        np.maximum(scores, 0.0, out=scores)
        np.sqrt(scores, out=scores)
    return scores


@numba.njit(cache=True, nogil=True)
def _add_history(  # type: ignore[no-untyped-def]
    offsets, items, row_weights, weight_offsets, neighbours, weights, scores
):
    for row in range(len(offsets) - 1):
        for entry in range(offsets[row], offsets[row + 1]):
            history_item = items[entry]
            factor = row_weights[entry]
            for position in range(weight_offsets[history_item], weight_offsets[history_item + 1]):
                scores[row, neighbours[position]] += factor * weights[position]
