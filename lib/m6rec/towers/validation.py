"""Measure how well towers rank for a sample of users, to choose the best epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from m6rec.kernels.arrays.rows import Float32, Float64, Int32, Rows
from m6rec.kernels.evaluation.metrics import hit_matrix, ndcg
from m6rec.towers.encoder import ItemInputs, TowerEncoder

USERS_RANKED_AT_ONCE = 512


@dataclass(frozen=True)
class ValidationSample:
    """Users with held-out items; calling it gives their mean NDCG@k.

    Attributes:
        rows: the users' training rows, whose items are masked.
        targets: the users' held-out items.
        user_features: float32 [n, features], or None.
        k: depth of the lists.
    """

    rows: Rows
    targets: Rows
    user_features: Float32 | None
    k: int = 20

    def __call__(self, encoder: TowerEncoder, items: ItemInputs) -> float:
        """The mean NDCG@k over the users; their lists rank all items that they have not seen."""
        of_users = self.ndcg_of_users([(encoder, items)])
        return float(of_users.mean()) if len(of_users) else 0.0

    def ndcg_of_users(self, towers: Sequence[tuple[TowerEncoder, ItemInputs]]) -> Float64:
        """float64 [n]: NDCG@k of lists that rank by the summed scores of some pairs of towers."""
        if len(self.rows) == 0:
            return np.zeros(0)
        item_embeddings = torch.from_numpy(
            np.hstack([encoder.encode_items(own.features, own.images) for encoder, own in towers])
        )
        users = np.hstack(
            [encoder.encode_users(self.rows, self.user_features) for encoder, _ in towers]
        )
        ranked = np.concatenate(
            [
                self._rank(users, item_embeddings, start)
                for start in range(0, len(users), USERS_RANKED_AT_ONCE)
            ]
        )
        hits = hit_matrix(ranked, self.targets.indptr, self.targets.item_indices)
        return ndcg(hits, self.targets.counts, self.k)

    def _rank(self, users: Float32, item_embeddings: torch.Tensor, start: int) -> Int32:
        block = self.rows.slice(start, min(start + USERS_RANKED_AT_ONCE, len(users)))
        scores = torch.from_numpy(users[start : start + len(block)]) @ item_embeddings.T
        seen = np.repeat(np.arange(len(block)), block.counts), block.item_indices.astype(np.int64)
        scores[torch.from_numpy(seen[0]), torch.from_numpy(seen[1])] = -torch.inf
        top = torch.topk(scores, min(self.k, scores.shape[1]), dim=1).indices
        ranked: Int32 = top.numpy().astype(np.int32)
        return ranked
