"""Train towers to add what another model lacks: its logits are added to theirs and held fixed.

A model scores the items highest that it was trained on, and would leave the towers nothing to learn
from them. So each user's scores come from a model that was trained on the other half of the users
(cross-fitting), and are computed from the user's row without the targets.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from m6rec.kernels.arrays.rows import Float32, Int64, Rows
from m6rec.kernels.neighbours.item_neighbours import ItemWeights, item_weights_from_scipy
from m6rec.kernels.ranking.members import HistoryMember

HALVES = 2
_SCALES = tuple(2.0**exponent for exponent in range(-1, 8))


def half_of(user_index: Int64) -> Int64:
    """The half that a user is in, 0 or 1; the model of that number was trained on the other one."""
    return user_index % HALVES


@dataclass(frozen=True)
class CrossFitted:
    """Item-item weights by halves of the users.

    Attributes:
        weights: for the users of each half, trained on the other.
        scale: the factor by which scores become logits.
    """

    weights: tuple[ItemWeights, ...]
    scale: float = 1.0

    def logits(self, rows: Rows, items: Int64) -> Float32:
        """float32 [n, items]: scale sqrt(sum over i in the row of w_ui B_ij).

        Args:
            rows: of users; their model is that of their half.
            items: int64; of which logits are wanted.
        """
        logits = np.zeros((len(rows), len(items)), np.float32)
        halves = half_of(rows.user_index)
        for half, weights in enumerate(self.weights):
            users = np.flatnonzero(halves == half)
            if len(users):
                history = rows.take(users).to_scipy(len(weights))
                summed = (history @ weights.to_scipy()[:, items]).toarray()
                logits[users] = self.scale * np.sqrt(np.maximum(summed, 0))
        return logits

    def member(self) -> HistoryMember:
        """The mean of the halves as a member whose scores are logits, for validation."""
        mean = sum((one.to_scipy() for one in self.weights[1:]), self.weights[0].to_scipy())
        scaled = sp.csr_matrix(mean * (self.scale**2 / len(self.weights)))
        return HistoryMember("cross_fitted", item_weights_from_scipy(scaled), "square_root")


def best_scale(logits: Float32, pair_user: Int64, pair_item: Int64) -> float:
    """The factor by which logits make the targets likeliest among the items.

    Args:
        logits: float32 [n, items]; of a scale of 1.
        pair_user, pair_item: int64 [pairs]; each target's user and item.
    """
    losses = []
    for scale in _SCALES:
        scaled = logits * scale
        highest = scaled.max(axis=1)
        total = np.log(np.exp(scaled - highest[:, None]).sum(axis=1)) + highest
        losses.append(float((total[pair_user] - scaled[pair_user, pair_item]).mean()))
    return _SCALES[int(np.argmin(losses))]
