"""Score items by a history to which another member has added items."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from m6rec.kernels.arrays.rows import indptr_of
from m6rec.kernels.neighbours.item_neighbours import ItemWeights
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import (
    HistoryMember,
    SparseRows,
    Terms,
    Transform,
    UserBlock,
    sparse_rows,
)
from m6rec.kernels.ranking.scoring import (
    RepresentedUsers,
    blend_top_n,
    masked_for_users,
    prepare_blend,
)


@dataclass(frozen=True)
class ExpandedHistoryMember:
    """A member that sums item-item weights over the history and over items added to it.

    The items most like a new item may be items that the user would like but does not have. So the
    best items of another member count as history too, each with `expansion` times its score. The
    user's own items among them count once more.

    Attributes:
        name: the member's name.
        weights: row i holds what item i says for other items.
        added_by: the member that scores the items to add.
        expansion: multiplies those scores; 0 adds nothing.
        expanded: how many items are added at most.
    """

    name: str
    weights: ItemWeights
    added_by: HistoryMember
    expansion: float
    expanded: int
    transform: ClassVar[Transform] = "square_root"

    @property
    def rows(self) -> SparseRows:
        """The item-item weights."""
        return sparse_rows(self.weights)

    def terms(self, block: UserBlock) -> Terms:
        """For each user, the history with its weights, then the added items with theirs."""
        history = self.added_by.terms(block)
        n_items = len(self.weights)
        blend = Blend(self.added_by.name, (self.added_by.name,), (1.0,), (1.0,))
        no_evidence = np.zeros(n_items, np.int64)
        prepared = prepare_blend(blend, {blend.name: self.added_by}, no_evidence)
        users = RepresentedUsers({}, {blend.name: history}, block.rows.counts)
        nothing = masked_for_users([], len(block.rows), np.zeros(n_items, np.bool_))
        items, scores = blend_top_n(prepared, users, nothing, self.expanded)
        user = np.repeat(np.arange(len(block.rows)), self.expanded)
        added = (items.ravel() >= 0) & (scores.ravel() > 0.0)
        users_of_history = np.repeat(np.arange(len(block.rows)), np.diff(history.indptr))
        owners = np.concatenate([users_of_history, user[added]])
        order = np.argsort(owners, kind="stable")
        factors = np.concatenate(
            [history.factors, np.float32(self.expansion) * scores.ravel()[added]]
        )
        counts = np.bincount(owners, minlength=len(block.rows))
        return Terms(
            indptr_of(counts),
            np.concatenate([history.row_indices, items.ravel()[added]])[order],
            factors[order],
        )
