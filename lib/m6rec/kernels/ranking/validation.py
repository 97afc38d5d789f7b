"""A sample of validation users in memory, and how well members rank for them.

Settings, epochs of towers and ablations are all measured here, by one NDCG over one kind of list.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from m6rec.kernels.arrays.rows import Float64, Int32, Int64
from m6rec.kernels.evaluation.metrics import hit_matrix, ndcg
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import Member, UserBlock
from m6rec.kernels.ranking.scoring import hidden_items, make_ranker, ranker_top_n, represent


@dataclass(frozen=True)
class ValidationUsers:
    """Users with held-out items.

    Attributes:
        users: what members may know of them.
        target_offsets: int64 [n + 1] into targets.
        targets: int32; the held-out items of each user.
        forbidden: bool [items]; items that are in no list.
    """

    users: UserBlock
    target_offsets: Int64
    targets: Int32
    forbidden: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.users.rows)

    def ndcg(self, member: Member, k: int) -> float:
        """Mean NDCG@k of the member's lists, which leave out the items that a user has."""
        return float(self.ndcg_of_users({member.name: member}, k).mean())

    def ndcg_of_users(self, members: Mapping[str, Member], k: int) -> Float64:
        """float64 [n]: NDCG@k of the lists by the sum of the members' scores."""
        rows = self.users.rows
        names, ones = tuple(members), (1.0,) * len(members)
        blend = Blend(" + ".join(names), names, ones, ones)
        ranker = make_ranker(blend, members, np.zeros(len(self.forbidden), np.int64))
        hidden = hidden_items([(rows.offsets, rows.item_indices)], len(rows), self.forbidden)
        ranked, _ = ranker_top_n(ranker, represent(members, self.users), hidden, k)
        hits = hit_matrix(ranked, self.target_offsets, self.targets)
        return ndcg(hits, np.diff(self.target_offsets), k)
