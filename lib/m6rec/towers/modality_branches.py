"""The branches of the towers that read columns of vectors, in torch (see `towers.modalities`)."""

import torch
from torch import Tensor, nn

from m6rec.towers.modalities import Modalities


class ModalityBranches(nn.Module):
    """A layer of hidden units for each column, and the attention that pools several vectors."""

    def __init__(self, modalities: Modalities, units: int) -> None:
        super().__init__()
        self.modalities = modalities
        self.layers = nn.ModuleList(nn.Linear(width, units) for _, width in modalities)
        self.queries = nn.ParameterDict(
            {
                str(c): nn.Parameter(torch.zeros(width))
                for c, (vectors, width) in enumerate(modalities)
                if vectors > 1
            }
        )

    @property
    def width(self) -> int:
        """How many numbers the pooled vectors of all columns have."""
        return sum(width for _, width in self.modalities)

    def pool(self, features: Tensor) -> tuple[list[Tensor], Tensor]:
        """p of each column, float32 [n, width], and which columns are there, bool [n, C].

        Args:
            features: float32 [n, features]; they end with the columns.
        """
        start = features.shape[1] - sum(vectors * width for vectors, width in self.modalities)
        pooled, present = [], []
        for c, (vectors, width) in enumerate(self.modalities):
            stop = start + vectors * width
            column = features[:, start:stop].reshape(-1, vectors, width)
            start = stop
            there = (column != 0).any(dim=2)
            present.append(there.any(dim=1))
            if vectors == 1:
                pooled.append(column[:, 0])
                continue
            scores = (column @ self.queries[str(c)]).masked_fill(~there, -torch.inf)
            scores = scores.masked_fill(~there.any(dim=1, keepdim=True), 0.0)
            pooled.append((torch.softmax(scores, dim=1)[..., None] * column).sum(dim=1))
        return pooled, torch.stack(present, dim=1)

    def forward(self, pooled: list[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
        """w_c GELU(B_c p_c) and w_c p_c of all columns side by side.

        Args:
            pooled: p of each column.
            weights: float32 [n, C or more]; w, which begins with these columns.
        """
        hidden = [
            nn.functional.gelu(layer(each)) * weights[:, c : c + 1]
            for c, (layer, each) in enumerate(zip(self.layers, pooled, strict=True))
        ]
        scaled = [each * weights[:, c : c + 1] for c, each in enumerate(pooled)]
        return torch.cat(hidden, dim=1), torch.cat(scaled, dim=1)


def modality_weights(present: Tensor, kept: Tensor | None) -> Tensor:
    """w of each modality, float32 [n, C].

    Args:
        present: bool [n, C].
        kept: float32 [n, C]; 0 where training leaves a modality out. None keeps all.
    """
    weights = present.to(torch.float32)
    if kept is not None:
        weights = weights * kept
    return weights * (present.shape[1] / weights.sum(dim=1, keepdim=True).clamp_min(1))
