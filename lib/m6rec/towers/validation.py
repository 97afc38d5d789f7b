"""Measure how well towers rank for a sample of validation users, to choose the best epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.ranking.members import DotMember
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.towers.encoder import ItemInputs, Towers


@dataclass(frozen=True)
class TowerValidation:
    """A sample of validation users; called with a pair of towers, it gives their mean NDCG@k.

    Attributes:
        users: the sample, with the users' features where the towers have any.
        k: depth of the lists.
    """

    users: ValidationUsers
    k: int = 20

    def __call__(self, encoder: Towers, items: ItemInputs) -> float:
        """The mean NDCG@k over the users; their lists rank all items that are not masked."""
        of_users = self.ndcg_of_users([(encoder, items)])
        return float(of_users.mean()) if len(of_users) else 0.0

    def with_shuffled_histories(self, seed: int) -> "TowerValidation":
        """The same users, with the times of each history dealt to its items at random."""
        block = self.users.users
        row = np.repeat(np.arange(len(block.rows)), block.rows.counts)
        drawn = np.random.default_rng(seed).random(len(row))
        shuffled = replace(block, times=block.times[np.lexsort((drawn, row))])
        return replace(self, users=replace(self.users, users=shuffled))

    def ndcg_of_users(self, towers: Sequence[tuple[Towers, ItemInputs]]) -> Float64:
        """float64 [n]: NDCG@k of lists that rank by the summed scores of some pairs of towers."""
        members = {}
        for place, (encoder, items) in enumerate(towers):
            vectors = encoder.encode_items(items.features, items.images)
            name = f"towers_{place}"
            members[name] = DotMember(name, encoder.user_encoder(vectors), vectors)
        return self.users.ndcg_of_users(members, self.k)
