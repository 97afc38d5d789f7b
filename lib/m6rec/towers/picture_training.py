"""Read the items' pictures while towers are trained: some anew in each step, the others as before.

A step ranks thousands of items, and the network cannot read the pictures of all of them with a
gradient. So it reads the pictures of a few items. For the others, the units are those that it
computed at the start of the epoch, without a gradient.
"""

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.config.towers import ImagesConfig
from m6rec.kernels.arrays.rows import Int64
from m6rec.towers.picture_branches import PictureBranch
from m6rec.towers.pictures import NO_FRAME, Pictures
from m6rec.towers.ranks import CPU

_ITEMS_AT_ONCE = 256
# The largest shift, as a share of the size, and the largest change of brightness, from 1.
_MOST_SHIFT = 0.125
_MOST_BRIGHTNESS = 0.2


class PictureReader:
    """The units of all items, as the branches of one model made them."""

    def __init__(
        self,
        pictures: tuple[Pictures, ...],
        branches: nn.ModuleList,
        config: ImagesConfig,
        device: torch.device = CPU,
    ) -> None:
        self.pictures = pictures
        self.branches = branches
        self.config = config
        self.device = device
        self.pixels = [torch.from_numpy(one.pixels) for one in pictures]
        self.places = [torch.from_numpy(one.places) for one in pictures]
        self._units = torch.zeros(0)
        self._read_with: tuple[int, ...] = ()

    def units(self) -> Tensor:
        """float32 [M, C, units] by the branches as they are now, without a gradient."""
        # Counts how often each parameter has been changed.
        state = tuple(parameter._version for parameter in self.branches.parameters())
        if state != self._read_with:
            with torch.no_grad():
                blocks = [
                    self._read(torch.arange(start, min(start + _ITEMS_AT_ONCE, self._items)), None)
                    for start in range(0, self._items, _ITEMS_AT_ONCE)
                ]
            self._units, self._read_with = torch.cat(blocks), state
        return self._units

    def units_in_step(self, items: Int64, fresh: Int64, seed: int) -> Tensor:
        """float32 [n, C, units] of items, with a gradient of those that are read anew.

        Args:
            items: int64 [n].
            fresh: int64 [f]; the places among `items` of those that are read anew.
            seed: of the augmentation.
        """
        units = self._units.index_select(0, torch.from_numpy(items).to(self.device))
        if not len(fresh):
            return units
        generator = torch.Generator().manual_seed(seed) if self.config.augmentation else None
        read = self._read(torch.from_numpy(items[fresh]), generator)
        return units.index_copy(0, torch.from_numpy(fresh).to(self.device), read)

    @property
    def _items(self) -> int:
        return len(self.places[0])

    def _read(self, items: Tensor, generator: torch.Generator | None) -> Tensor:
        columns = []
        for branch, pixels, places in zip(self.branches, self.pixels, self.places, strict=True):
            assert isinstance(branch, PictureBranch)
            wanted = places[items]
            there = wanted != NO_FRAME
            local = torch.full_like(wanted, NO_FRAME)
            local[there] = torch.arange(int(there.sum()))
            given = pixels[wanted[there]]
            if generator is not None and len(given):
                given = augmented(given, generator)
            shown = given.to(self.device).float() / 255 - 0.5
            columns.append(branch(shown, local.to(self.device)))
        return torch.stack(columns, dim=1)


def augmented(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures, each mirrored or not, shifted, and brighter or darker: float32 [p, 3, s, s]."""
    n, colours, size, _ = pixels.shape
    most = int(size * _MOST_SHIFT)
    shifts = torch.randint(-most, most + 1, (2, n, 1), generator=generator)
    mirrored = torch.randint(0, 2, (n, 1), generator=generator).bool()
    row = (torch.arange(size) + shifts[0]).clamp(0, size - 1)
    column = (torch.arange(size) + shifts[1]).clamp(0, size - 1)
    column = torch.where(mirrored, size - 1 - column, column)
    places = (row[:, :, None] * size + column[:, None, :]).view(n, 1, -1)
    moved = pixels.view(n, colours, -1).gather(2, places.expand(-1, colours, -1))
    factors = 1 + _MOST_BRIGHTNESS * (2 * torch.rand(n, 1, 1, generator=generator) - 1)
    return (moved.float() * factors).clamp(0, 255).view(n, colours, size, size)


def choose_fresh(
    pictures: tuple[Pictures, ...], items: Int64, per_step: int, generator: np.random.Generator
) -> Int64:
    """The places among items of those whose pictures a step reads, by chance: int64, ascending.

    Args:
        pictures: the columns.
        items: int64 [n]; the items of the step.
        per_step: how many pictures and frames are read at most; one item is always read.
        generator: of the choice.
    """
    frames = np.sum([(one.places[items] != NO_FRAME).sum(axis=1) for one in pictures], axis=0)
    order = generator.permutation(np.flatnonzero(frames))
    within = np.cumsum(frames[order]) <= per_step
    within[:1] = True
    return np.sort(order[within]).astype(np.int64)
