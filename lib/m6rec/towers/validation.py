"""The ranking metric that chooses the best epoch of the towers, on a sample of validation users."""

from collections.abc import Sequence
from dataclasses import dataclass

from m6rec.kernels.arrays.rows import Float64
from m6rec.kernels.ranking.members import DotMember
from m6rec.kernels.ranking.validation import ValidationUsers
from m6rec.towers.encoder import ItemInputs, TowerEncoder, TowerUserEncoder


@dataclass(frozen=True)
class TowerValidation:
    """Called with a pair of towers, it gives their mean NDCG@k.

    Attributes:
        users: with their features, where the towers have any.
        k: depth of the lists.
    """

    users: ValidationUsers
    k: int = 20

    def __call__(self, encoder: TowerEncoder, items: ItemInputs) -> float:
        """Mean NDCG@k over the users, of lists over all items that they have not seen."""
        of_users = self.ndcg_of_users([(encoder, items)])
        return float(of_users.mean()) if len(of_users) else 0.0

    def ndcg_of_users(self, towers: Sequence[tuple[TowerEncoder, ItemInputs]]) -> Float64:
        """float64 [n]: NDCG@k of lists by the sum of the scores of some pairs of towers."""
        members = {
            f"towers_{place}": DotMember(
                f"towers_{place}",
                TowerUserEncoder(encoder),
                encoder.encode_items(items.features, items.images),
            )
            for place, (encoder, items) in enumerate(towers)
        }
        return self.users.ndcg_of_users(members, self.k)
