"""Measure how well towers rank for a sample of validation users, to choose the best epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.ranking.members import DotMember
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.towers.encoder import ItemInputs, TowerEncoder, TowerUserEncoder


@dataclass(frozen=True)
class TowerValidation:
    """A sample of validation users; called with a pair of towers, it gives their mean NDCG@k.

    Attributes:
        users: the sample, with the users' features where the towers have any.
        k: depth of the lists.
    """

    users: ValidationUsers
    k: int = 20

    def __call__(self, encoder: TowerEncoder, items: ItemInputs) -> float:
        """The mean NDCG@k over the users; their lists rank all items that they have not seen."""
        of_users = self.ndcg_of_users([(encoder, items)])
        return float(of_users.mean()) if len(of_users) else 0.0

    def ndcg_of_users(self, towers: Sequence[tuple[TowerEncoder, ItemInputs]]) -> Float64:
        """float64 [n]: NDCG@k of lists that rank by the summed scores of some pairs of towers."""
        members = {
            f"towers_{place}": DotMember(
                f"towers_{place}",
                TowerUserEncoder(encoder),
                encoder.encode_items(items.features, items.images),
            )
            for place, (encoder, items) in enumerate(towers)
        }
        return self.users.ndcg_of_users(members, self.k)
