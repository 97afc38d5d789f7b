"""Define a pair of towers on one kind of factors, in torch.

    T(x, g, f) = g x + (1 - g) A f + L2 GELU(L1 [g x; GELU(B f); B_c p_c; h_c])
    u^ = normalise(W T_user),  v^ = normalise(W T_item)
    score = u^ . v^ / temperature + beta (log(1 + d_item) - mean)

Here x is the factor (a user's factor is the projection of the user's row), g is the gate, f are the
side features and d_item is the number of interactions of the item. L2 starts at zero and W at the
identity, so training starts from the factor model. The popularity term is one more coordinate of
the embeddings, so a score is one dot product. A f stands in for the factor of a row without
history, and counts the less the more history there is. B_c p_c are the branches of the columns of
vectors among the features (see `towers.modalities`) and h_c those of pictures and videos (see
`towers.picture_branches`), which A reads as well.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from m6rec.towers.encoder import NORM_FLOOR
from m6rec.towers.modalities import Modalities, plain_width
from m6rec.towers.modality_branches import ModalityBranches, modality_weights
from m6rec.towers.picture_branches import PictureBranch


@dataclass(frozen=True)
class TowerShape:
    """The sizes and constants of a pair of towers.

    Attributes:
        rank: the length of a factor; an embedding has one coordinate more.
        user_features: how many side features a user has; 0 for none.
        item_features: how many side features an item has; 0 for none.
        hidden: units of the hidden layer.
        feature_hidden: units of the feature branch and of each other branch.
        temperature: the divisor of the cosine.
        gate_half_count: the number of interactions at which the gate is one half.
        user_modalities, item_modalities: the columns of vectors that the features end with.
        picture_frames: of each column of pictures or videos, how many frames an item has at most.
        picture_channels, picture_blocks: of the networks that read them.
    """

    rank: int
    user_features: int
    item_features: int
    hidden: int
    feature_hidden: int
    temperature: float
    gate_half_count: float
    user_modalities: Modalities = ()
    item_modalities: Modalities = ()
    picture_frames: tuple[int, ...] = ()
    picture_channels: tuple[int, ...] = ()
    picture_blocks: int = 1

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class TowerModel(nn.Module):
    """Both towers, the shared linear map W, and the weight of popularity."""

    def __init__(self, shape: TowerShape, popularity_weight: float = 1.0) -> None:
        super().__init__()
        self.shape = shape
        self.user = TowerSide(shape, shape.user_features, shape.user_modalities, ())
        self.item = TowerSide(
            shape, shape.item_features, shape.item_modalities, shape.picture_frames
        )
        self.shared = nn.Linear(shape.rank, shape.rank, bias=False)
        nn.init.eye_(self.shared.weight)
        self.popularity_weight = nn.Parameter(torch.tensor(popularity_weight))

    def embed_users(
        self, factors: Tensor, gates: Tensor, features: Tensor, kept: Tensor | None = None
    ) -> Tensor:
        """User embeddings [n, rank + 1].

        Args:
            factors: float32 [n, rank], of length sqrt(rank) or zero.
            gates: float32 [n].
            features: float32 [n, user_features].
            kept: float32 [n, user modalities]; 0 where training leaves one out. None keeps all.
        """
        direction = normalise(self.shared(self.user(factors, gates, features, None, kept)))
        popularity = self.popularity_weight.expand(len(factors), 1)
        return torch.cat([direction / self.shape.temperature, popularity], dim=1)

    def embed_items(
        self,
        factors: Tensor,
        gates: Tensor,
        features: Tensor,
        units: Tensor | None,
        popularity: Tensor,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Item embeddings [n, rank + 1].

        Args:
            factors: float32 [n, rank], of length sqrt(rank) or zero.
            gates: float32 [n].
            features: float32 [n, item_features].
            units: float32 [n, columns, feature_hidden]; what the branches of `item.pictures` make
                of the pictures, or None where the shape has none.
            popularity: float32 [n]; log(1 + count) less its mean.
            kept: float32 [n, item modalities and columns of pictures]; 0 where training leaves one
                out. None keeps all.
        """
        direction = normalise(self.shared(self.item(factors, gates, features, units, kept)))
        return torch.cat([direction, popularity[:, None]], dim=1)


class TowerSide(nn.Module):
    """The tower T of one side: the gated factor plus what the features and the MLP add to it."""

    def __init__(
        self,
        shape: TowerShape,
        features: int,
        modalities: Modalities,
        picture_frames: tuple[int, ...],
    ) -> None:
        super().__init__()
        width = shape.rank
        self.plain = plain_width(features, modalities)
        self.feature: nn.Linear | None = None
        self.stand_in: nn.Linear | None = None
        self.modalities: ModalityBranches | None = None
        self.modality_stand_in: nn.Linear | None = None
        if self.plain:
            self.feature = nn.Linear(self.plain, shape.feature_hidden)
            self.stand_in = nn.Linear(self.plain, shape.rank, bias=False)
            nn.init.zeros_(self.stand_in.weight)
            width += shape.feature_hidden
        if modalities:
            self.modalities = ModalityBranches(modalities, shape.feature_hidden)
            self.modality_stand_in = nn.Linear(self.modalities.width, shape.rank, bias=False)
            nn.init.zeros_(self.modality_stand_in.weight)
            width += shape.feature_hidden * len(modalities)
        self.pictures: nn.ModuleList | None = None
        self.picture_stand_in: nn.Linear | None = None
        if picture_frames:
            self.pictures = nn.ModuleList(
                PictureBranch(
                    frames, shape.picture_channels, shape.picture_blocks, shape.feature_hidden
                )
                for frames in picture_frames
            )
            units = shape.feature_hidden * len(picture_frames)
            self.picture_stand_in = nn.Linear(units, shape.rank, bias=False)
            nn.init.zeros_(self.picture_stand_in.weight)
            width += units
        self.first = nn.Linear(width, shape.hidden)
        self.last = nn.Linear(shape.hidden, shape.rank)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self,
        factors: Tensor,
        gates: Tensor,
        features: Tensor,
        units: Tensor | None,
        kept: Tensor | None,
    ) -> Tensor:
        """T of n users or items: float32 [n, rank]."""
        base = gates[:, None] * factors
        parts = [base]
        if self.feature is not None and self.stand_in is not None:
            plain = features[:, : self.plain]
            parts.append(nn.functional.gelu(self.feature(plain)))
            base = base + (1 - gates)[:, None] * self.stand_in(plain)
        pooled: list[Tensor] = []
        present: list[Tensor] = []
        if self.modalities is not None:
            pooled, there = self.modalities.pool(features)
            present.append(there)
        if units is not None:
            present.append((units != 0).any(dim=2))
        weights = modality_weights(torch.cat(present, dim=1), kept) if present else None
        if self.modalities is not None and self.modality_stand_in is not None:
            hidden_units, scaled = self.modalities(pooled, weights)
            parts.append(hidden_units)
            base = base + (1 - gates)[:, None] * self.modality_stand_in(scaled)
        if units is not None and weights is not None and self.picture_stand_in is not None:
            seen = (units * weights[:, -units.shape[1] :, None]).flatten(1)
            parts.append(seen)
            base = base + (1 - gates)[:, None] * self.picture_stand_in(seen)
        hidden = nn.functional.gelu(self.first(torch.cat(parts, dim=1)))
        added: Tensor = self.last(hidden)
        return base + added


def normalise(rows: Tensor) -> Tensor:
    """The rows scaled to length 1, up to NORM_FLOOR; a row of zeros stays zero."""
    rows = rows.float()
    return rows * torch.rsqrt((rows * rows).sum(dim=1, keepdim=True) + NORM_FLOOR)
