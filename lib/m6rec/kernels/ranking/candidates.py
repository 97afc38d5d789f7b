"""Find candidate items of a block of users, with every member's scores, to choose weights by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Int64
from m6rec.kernels.ranking.members import Member, UserBlock
from m6rec.kernels.ranking.scoring import (
    Masked,
    PreparedBlend,
    blend_top_n,
    represent,
    scores_and_moments,
)

# Below this share of the mean square, a variance is the rounding of scores that are equal.
_ROUNDING_OF_SQUARES = 1e-10


@dataclass(frozen=True)
class ScoredCandidates:
    """The candidates of a block of users.

    Attributes:
        indptr: int64 [n + 1] into items.
        items: int32 [candidates]; ascending for each user.
        scores: float32 [candidates, members]; transformed.
        moments: float64 [n, members, 2]; mean and mean square of each member's scores of all items.
    """

    indptr: Int64
    items: Int32
    scores: Float32
    moments: Float64


def score_candidates(
    blends: Sequence[PreparedBlend],
    members: Mapping[str, Member],
    block: UserBlock,
    masked: Masked,
    n: int,
) -> ScoredCandidates:
    """Score the union of the lists of blends of one member each, by each of these members.

    Args:
        blends: one for each member.
        members: at least theirs, by name.
        block: the users.
        masked: what no candidate may be.
        n: length of the lists.
    """
    n_items = len(masked.masked_items)
    users = represent(members, block)
    best = [blend_top_n(prepared, users, masked, n)[0] for prepared in blends]
    indptr, items = _union(np.hstack(best), n_items)
    scored = [
        scores_and_moments(members[prepared.blend.name], users, indptr, items, n_items)
        for prepared in blends
    ]
    return ScoredCandidates(
        indptr,
        items,
        np.stack([scores for scores, _ in scored], axis=1),
        np.stack([moments for _, moments in scored], axis=1),
    )


def held_by(
    indptr: Int64, items: Int32, target_indptr: Int64, targets: Int32, n_items: int
) -> npt.NDArray[np.bool_]:
    """bool [entries]: whether each item is among its user's targets."""
    cells = _cells(indptr, items, n_items)
    return np.isin(cells, _cells(target_indptr, targets, n_items))


def deviations_of(moments: Float64) -> Float64:
    """float64 [members], from float64 [n, members, 2]; 1 where all scores are equal or none is."""
    if not len(moments):
        return np.ones(moments.shape[1])
    mean, square = moments.mean(axis=0).T
    variance = np.maximum(square - mean**2, 0.0)
    return np.where(variance > _ROUNDING_OF_SQUARES * square, np.sqrt(variance), 1.0)


def _union(items: Int32, n_items: int) -> tuple[Int64, Int32]:
    """The distinct items of each row, ascending, without padding: indptr and items."""
    cells = items + np.arange(len(items), dtype=np.int64)[:, None] * n_items
    distinct = np.unique(cells[items >= 0])
    indptr = np.searchsorted(distinct, np.arange(len(items) + 1, dtype=np.int64) * n_items)
    return indptr.astype(np.int64), (distinct % n_items).astype(np.int32)


def _cells(indptr: Int64, items: Int32, n_items: int) -> Int64:
    users = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))
    return users * n_items + items
