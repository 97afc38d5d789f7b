"""Measure how well towers rank for a sample of validation users, to choose the best epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from m6rec.kernels.arrays.rows import Float64, Int32
from m6rec.kernels.ranking.members import DotMember, Member
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.towers.encoder import ItemInputs, Towers
from m6rec.towers.sequence_encoder import SequenceEncoder, SequenceUserEncoder, UsersInContexts


@dataclass(frozen=True)
class TowerValidation:
    """A sample of validation users; called with a pair of towers, it gives their mean NDCG@k.

    Attributes:
        users: the sample, with the users' features where the towers have any.
        k: depth of the lists.
        base_member: a member whose scores are added to those of the towers.
    """

    users: ValidationUsers
    k: int = 20
    base_member: Member | None = None

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

    def of_items(self, items: Int32) -> "TowerValidation":
        """The same users, each with one of these items as the only one that is looked for."""
        indptr = np.arange(len(items) + 1)
        return replace(self, users=replace(self.users, target_indptr=indptr, targets=items))

    def ndcg_in_contexts(
        self, encoder: SequenceEncoder, items: ItemInputs, codes: Int32
    ) -> tuple[Float64, Float64]:
        """NDCG@k of the users without a context, and each in the user's own: float64 [n] each.

        Args:
            encoder: the towers.
            items: their item side.
            codes: int32 [n, keys]; the users' contexts.
        """
        vectors = encoder.encode_items(items.features)
        users = SequenceUserEncoder(encoder, vectors)
        without, whole = (
            self.users.ndcg_of_users({name: DotMember(name, side, vectors)}, self.k)
            for name, side in (("towers", users), ("in_contexts", UsersInContexts(users, codes)))
        )
        return without, whole

    def ndcg_of_users(self, towers: Sequence[tuple[Towers, ItemInputs]]) -> Float64:
        """float64 [n]: NDCG@k of lists that rank by the summed scores of some pairs of towers."""
        members: dict[str, Member] = {}
        if self.base_member is not None:
            members[self.base_member.name] = self.base_member
        for place, (encoder, items) in enumerate(towers):
            vectors = encoder.encode_items(items.features)
            name = f"towers_{place}"
            members[name] = DotMember(name, encoder.user_encoder(vectors), vectors)
        return self.users.ndcg_of_users(members, self.k)
