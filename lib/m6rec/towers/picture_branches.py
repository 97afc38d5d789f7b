"""The branches of the item tower that read pictures and videos: residual networks, in torch.

    z_f = the mean over places of ResNet(frame f)
    h_c = GELU(D_c sum over the item's frames f of softmax(q_c . z_f) z_f)

An item without a frame has the units 0. Groups of channels are normalised (Wu and He 2018), not
batches, so that an item's units do not depend on which others are read with it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from m6rec.towers.pictures import NO_FRAME

_COLOURS = 3
_GROUPS = 8


class PictureBranch(nn.Module):
    """Reads one column: the network, the attention over frames, and a layer of units."""

    def __init__(self, frames: int, channels: Sequence[int], blocks: int, units: int) -> None:
        super().__init__()
        self.network = ResidualNetwork(channels, blocks)
        self.query = nn.Parameter(torch.zeros(channels[-1])) if frames > 1 else None
        self.out = nn.Linear(channels[-1], units)

    def forward(self, pixels: Tensor, places: Tensor) -> Tensor:
        """The units of n items: float32 [n, units].

        Args:
            pixels: float32 [p, 3, size, size], centred.
            places: int64 [n, frames]; where each item's frames are among the pixels, NO_FRAME
                where there is none.
        """
        if not len(pixels):
            return torch.zeros(len(places), self.out.out_features, device=places.device)
        there = places != NO_FRAME
        read = self.network(pixels).float()
        frames = nn.functional.embedding(places.clamp_min(0), read)
        if self.query is None:
            pooled = frames[:, 0]
        else:
            scores = (frames @ self.query).masked_fill(~there, -torch.inf)
            scores = scores.masked_fill(~there.any(dim=1, keepdim=True), 0.0)
            pooled = (torch.softmax(scores, dim=1)[..., None] * frames).sum(dim=1)
        units: Tensor = nn.functional.gelu(self.out(pooled)) * there.any(dim=1, keepdim=True)
        return units.float()


class ResidualNetwork(nn.Module):
    """A residual network (He et al. 2016, with activation before convolution) of some stages.

    Each stage halves height and width; the last is averaged over places.
    """

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(_COLOURS, channels[0], 3, stride=2, padding=1)
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(
            _ResidualBlock(
                before if block == 0 else after,
                after,
                stride=2 if block == 0 and stage > 0 else 1,
            )
            for stage, (before, after) in enumerate(zip(widths, channels, strict=False))
            for block in range(blocks)
        )
        self.norm = _norm(channels[-1])

    def forward(self, pixels: Tensor) -> Tensor:
        """float32 [p, 3, size, size] to [p, channels of the last stage]."""
        maps = self.stem(pixels.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            maps = block(maps)
        read: Tensor = nn.functional.gelu(self.norm(maps)).mean(dim=(2, 3))
        return read


class _ResidualBlock(nn.Module):
    """Two convolutions whose result is added to what comes in."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first_norm = _norm(before)
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1)
        self.second_norm = _norm(after)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = (
            nn.Conv2d(before, after, 1, stride=stride, bias=False)
            if stride > 1 or before != after
            else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        active = nn.functional.gelu(self.first_norm(maps))
        passed = maps if self.shortcut is None else self.shortcut(active)
        hidden = nn.functional.gelu(self.second_norm(self.first(active)))
        added: Tensor = passed + self.second(hidden)
        return added


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)
